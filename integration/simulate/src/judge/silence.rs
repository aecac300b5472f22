//! Law 7: a healthy group of a pair is never silent for long, and another is elected
//! only where it was.

use std::collections::BTreeMap;

use super::{REPLICA, Record, Verdict};
use stand_ins::amp::{Arrival, Outcome};
use crate::targets::Served;

/// A healthy group sends this often at least.
const SILENCE_MS: i64 = 10_000;
/// The backend notes when the elected group wrote at most this often, and elects the
/// other 30 s after that: for as long that one was silent at least.
const UNNOTED_MS: i64 = 15_000;

// === impl Verdict ===

impl Verdict {
    /// Law 7, of groups that have a heartbeat or are scraped often.
    pub(super) fn silences(&mut self, record: &Record) {
        let is_pair = record.groups.len() > 1;
        if is_pair && (record.heartbeats || record.interval_ms < SILENCE_MS) {
            for group in &record.groups {
                self.silent(record, group);
            }
        }
        if is_pair {
            self.elected(record);
        }
    }

    fn silent(&mut self, record: &Record, group: &str) {
        let of_group = |arrival: &&Arrival| replica(arrival) == group;
        let times: Vec<_> = record.arrivals.iter().filter(of_group).collect();
        for two in times.windows(2) {
            let (from_ms, to_ms) = (two[0].at_ms, two[1].at_ms);
            let well_ms = record.well_since_ms(from_ms, to_ms);
            let is_long = to_ms - well_ms > SILENCE_MS && !record.waited(group, to_ms);
            if is_long && record.was_healthy(group, from_ms, to_ms) {
                self.breaks(format!(
                    "{group} was healthy and silent from {from_ms} to {to_ms}"
                ));
            }
        }
    }

    fn elected(&mut self, record: &Record) {
        let mut leader: Option<&str> = None;
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for arrival in &record.arrivals {
            let group = replica(arrival);
            let is_taken = arrival.outcome != Outcome::Deduplicated;
            if let Some(before) = leader.filter(|before| is_taken && *before != group) {
                let heard_ms = last.get(before).copied().unwrap_or_default();
                if arrival.at_ms - heard_ms < UNNOTED_MS {
                    let at_ms = arrival.at_ms;
                    self.breaks(format!(
                        "{group} was elected at {at_ms}, {before} silent since {heard_ms}"
                    ));
                }
            }
            leader = if is_taken { Some(group) } else { leader };
            last.insert(group, arrival.at_ms);
        }
    }
}

// === impl Record ===

impl Record {
    /// When the last thing that went wrong within this time was over.
    fn well_since_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let wrong = self.wrong_ms.iter();
        let within = wrong.filter(|(begun, over)| *begun <= to_ms && from_ms <= *over);
        let ends = within.map(|(_, over)| (*over).min(to_ms));
        ends.max().unwrap_or(from_ms).max(from_ms)
    }

    /// Whether a group without heartbeats, which wait for nobody, may have waited for what
    /// a receiver that was killed had under way (law 3), or on its disk.
    fn waited(&self, group: &str, to_ms: i64) -> bool {
        let mut lives = self.lives.iter().filter(|life| life.group == group);
        let had_some = lives.any(|life| {
            let presumed_ms = life.crashed_ms.zip(self.presumed_until_ms(life));
            presumed_ms.is_some_and(|(from, until)| (from..=until).contains(&to_ms))
        });
        had_some && !self.heartbeats
    }

    /// Whether one process of the group had a target of its own for all of this time,
    /// which always answered in one of its last two slots.
    fn was_healthy(&self, group: &str, from_ms: i64, to_ms: i64) -> bool {
        (0..self.targets).any(|target| {
            let of_group = |scrape: &&Served| {
                scrape.target == target && crate::plan::group(&scrape.by) == Some(group)
            };
            let scrapes: Vec<_> = self.served.iter().filter(of_group).collect();
            let first = scrapes.iter().rposition(|scrape| scrape.at_ms < from_ms);
            let after = scrapes.iter().position(|scrape| scrape.at_ms > to_ms);
            let (Some(first), Some(after)) = (first, after) else {
                return false;
            };
            let around = &scrapes[first..=after];
            let by = &around[0].by;
            let (begun_ms, over_ms) = (around[0].at_ms, around[around.len() - 1].at_ms);
            around.iter().all(|scrape| scrape.by == *by)
                && around
                    .windows(2)
                    .all(|two| two[1].at_ms - two[0].at_ms < 2 * self.interval_ms)
                && self.lives.iter().any(|life| {
                    let ends = life.crashed_ms.iter().chain(&life.stopped_ms);
                    life.name == *by
                        && life.began_ms <= begun_ms
                        && ends.min().is_none_or(|end| *end > over_ms)
                })
        })
    }
}

fn replica(arrival: &Arrival) -> &str {
    arrival.labels.get(REPLICA).unwrap_or_default()
}
