//! Law 7: a healthy group of an HA pair is never silent for long, and the backend elects the
//! other group only after a silence.

use std::collections::BTreeMap;

use stand_ins::amp::{Arrival, Outcome};

use super::report::Report;
use crate::{
    plan,
    record::{REPLICA, Record},
    targets::AnsweredScrape,
};

/// Maximum silence of a healthy group.
const SILENCE_MS: i64 = 10_000;
/// Minimum silence before an election. The backend elects another group after 30 s, and records
/// the time of the last write up to 15 s late.
const ELECTION_MS: i64 = 15_000;

// === impl Report ===

impl Report {
    /// Checks law 7 for groups with heartbeats or short scrape intervals.
    pub(super) fn check_silences(&mut self, record: &Record) {
        let is_pair = record.groups.len() > 1;
        if is_pair && (record.heartbeats || record.interval_ms < SILENCE_MS) {
            for group in &record.groups {
                self.check_silence(record, group);
            }
        }
        if is_pair {
            self.check_elections(record);
        }
    }

    fn check_silence(&mut self, record: &Record, group: &str) {
        let of_group = |arrival: &&Arrival| replica(arrival) == group;
        let arrivals: Vec<_> = record.arrivals.iter().filter(of_group).collect();
        for two in arrivals.windows(2) {
            let (from_ms, to_ms) = (two[0].at_ms, two[1].at_ms);
            let since_ms = record.faultless_since_ms(from_ms, to_ms);
            let is_long = to_ms - since_ms > SILENCE_MS && !record.may_wait(group, to_ms);
            if is_long && record.was_healthy(group, from_ms, to_ms) {
                self.violation(format!(
                    "{group} was healthy and silent from {from_ms} to {to_ms}"
                ));
            }
        }
    }

    fn check_elections(&mut self, record: &Record) {
        let mut leader: Option<&str> = None;
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for arrival in &record.arrivals {
            let group = replica(arrival);
            let is_leader = arrival.outcome != Outcome::Deduplicated;
            if let Some(before) = leader.filter(|before| is_leader && *before != group) {
                let last_ms = last.get(before).copied().unwrap_or_default();
                if arrival.at_ms - last_ms < ELECTION_MS {
                    let at_ms = arrival.at_ms;
                    self.violation(format!(
                        "{group} was elected at {at_ms}, {before} was silent since {last_ms}"
                    ));
                }
            }
            leader = if is_leader { Some(group) } else { leader };
            last.insert(group, arrival.at_ms);
        }
    }
}

// === impl Record ===

impl Record {
    /// Returns the end of the last fault within a range, or the start of the range.
    fn faultless_since_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let faults = self.faults_ms.iter();
        let within = faults.filter(|(begin, end)| *begin <= to_ms && from_ms <= *end);
        let ends = within.map(|(_, end)| (*end).min(to_ms));
        ends.max().unwrap_or(from_ms).max(from_ms)
    }

    /// Returns true if a group may have waited for the backlog of a killed receiver (law 3).
    /// Heartbeats do not wait.
    fn may_wait(&self, group: &str, to_ms: i64) -> bool {
        let mut processes = self.processes.iter().filter(|it| it.group == group);
        let has_backlog = processes.any(|process| {
            let range_ms = process.killed_ms.zip(self.presumed_until_ms(process));
            range_ms.is_some_and(|(from, until)| (from..=until).contains(&to_ms))
        });
        has_backlog && !self.heartbeats
    }

    /// Returns true if one process of a group owned a target for the whole range, and the target
    /// answered in at least one of two consecutive slots.
    fn was_healthy(&self, group: &str, from_ms: i64, to_ms: i64) -> bool {
        (0..self.targets).any(|target| {
            let of_group = |scrape: &&AnsweredScrape| {
                scrape.target == target && plan::group(&scrape.receiver) == Some(group)
            };
            let scrapes: Vec<_> = self.scrapes.iter().filter(of_group).collect();
            let first = scrapes.iter().rposition(|scrape| scrape.at_ms < from_ms);
            let after = scrapes.iter().position(|scrape| scrape.at_ms > to_ms);
            let (Some(first), Some(after)) = (first, after) else {
                return false;
            };
            let around = &scrapes[first..=after];
            let receiver = &around[0].receiver;
            let (begin_ms, end_ms) = (around[0].at_ms, around[around.len() - 1].at_ms);
            around.iter().all(|scrape| scrape.receiver == *receiver)
                && around
                    .windows(2)
                    .all(|two| two[1].at_ms - two[0].at_ms < 2 * self.interval_ms)
                && self.processes.iter().any(|process| {
                    let ends = process.killed_ms.iter().chain(&process.stopped_ms);
                    process.name == *receiver
                        && process.started_ms <= begin_ms
                        && ends.min().is_none_or(|end| *end > end_ms)
                })
        })
    }
}

fn replica(arrival: &Arrival) -> &str {
    arrival.labels.get(REPLICA).unwrap_or_default()
}
