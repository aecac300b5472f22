//! Law 9 and recovery: receivers send each answered scrape unless they ended, a moved target
//! misses at most one slot, and all targets recover soon after the last fault.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Report;
use crate::{
    receiver::{AWAY_TIMEOUT, HANDOVER_TIMEOUT},
    record::{Process, REPLICA, Record, scrape_number},
    targets::{self, AnsweredScrape},
};

/// Maximum time from the end of a fault until lanes deliver again.
const RECOVERY_MS: i64 = 10_000;
/// Maximum time from the deadline of an Export until its lane has the next verdict.
const RETRY_MS: i64 = 1_000;
/// Maximum time of one round of polls between members.
const ROUND_MS: i64 = 1_000;
/// Maximum time from the answer of a target until its samples are pushed. The scrape timeout
/// limits it.
const READ_MS: i64 = 1_000;
/// Maximum time from the start of a scrape until the target answers.
const REQUEST_MS: i64 = 100;
/// Maximum time from the age at which a batch is spilled until it is on disk.
const SPILL_MS: i64 = 600;
/// Maximum time of a claim. A new owner polls the old one at once, and again after 250 ms if
/// that one is about to end a scrape.
const CLAIM_MS: i64 = 750;
/// Samples of one scrape: four of the target and five about the scrape.
const SAMPLES: u64 = 9;

// === impl Report ===

impl Report {
    /// Checks that each answered scrape was sent, unless its receiver was killed, stopped or
    /// lost the target while it read the body.
    pub(super) fn check_scrapes(&mut self, record: &Record) {
        let mut unsent: BTreeMap<usize, Vec<&AnsweredScrape>> = BTreeMap::new();
        let sent: BTreeSet<_> = record.processes.iter().flat_map(sent_scrapes).collect();
        for scrape in &record.scrapes {
            if sent.contains(&(targets::address(scrape.target), scrape.number)) {
                continue;
            }
            match process_of(scrape, &record.processes) {
                Some(process) => unsent.entry(process).or_default().push(scrape),
                None => self.violation(format!("scraped by no process: {scrape:?}")),
            }
        }
        for (process, scrapes) in unsent {
            let process = &record.processes[process];
            // Samples in memory that a kill may have lost.
            let mut in_memory = match process.killed_ms {
                Some(_) => process.unsent_samples(),
                None => 0,
            };
            let spilled_ms = record.spilled_until_ms(process);
            for scrape in scrapes {
                if process.ended_during(scrape) {
                    self.aborted += 1;
                } else if spilled_ms.is_some_and(|until_ms| scrape.at_ms < until_ms) {
                    self.violation(format!("spilled and lost: {scrape:?}"));
                } else if in_memory > 0 {
                    in_memory = in_memory.saturating_sub(SAMPLES);
                } else {
                    self.violation(format!("lost: {scrape:?}"));
                }
            }
        }
    }

    /// Checks law 9: a target that moves misses at most one slot.
    pub(super) fn check_slots(&mut self, record: &Record) {
        let mut scraped: BTreeMap<(&str, String), BTreeSet<i64>> = BTreeMap::new();
        for process in &record.processes {
            let sent = process.sent().into_iter();
            for batch in sent.filter(|batch| targets::is_target(&batch.instance)) {
                let key = (process.group.as_str(), batch.instance.clone());
                scraped.entry(key).or_default().insert(batch.time_ms);
            }
        }
        // A scrape that was lost with the memory of a killed receiver missed no slot.
        for scrape in &record.scrapes {
            let process = process_of(scrape, &record.processes).map(|it| &record.processes[it]);
            if let Some(process) = process.filter(|it| it.killed_ms.is_some()) {
                let key = (process.group.as_str(), targets::address(scrape.target));
                scraped.entry(key).or_default().insert(scrape.at_ms);
            }
        }
        for ((group, instance), times) in scraped {
            for (from, to) in times.iter().zip(times.iter().skip(1)) {
                let missed = (to - from + record.interval_ms / 2) / record.interval_ms - 1;
                if missed <= 0 || record.was_unsettled(group, *from, *to) {
                    continue;
                }
                self.missed = self.missed.max(missed);
                // Short intervals have several slots between the times at which the old owner
                // and the new one learn of the move.
                let handover_ms = record.view_lag_ms(group, *from, *to) + CLAIM_MS;
                if missed > 1 && to - from > 2 * record.interval_ms + handover_ms {
                    self.violation(format!(
                        "{missed} slots of {instance} in {group} missed from {from} to {to}"
                    ));
                }
            }
        }
    }

    /// Checks that samples of every target arrive again soon after the last fault.
    pub(super) fn check_recovery(&mut self, record: &Record) {
        let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for arrival in &record.arrivals {
            if arrival.at_ms < record.faults_end_ms || scrape_number(arrival).is_none() {
                continue;
            }
            let label = |name| arrival.labels.get(name).unwrap_or_default();
            let key = (label("instance"), label(REPLICA));
            first.entry(key).or_insert(arrival.at_ms);
        }
        let expected = record.targets * record.groups.len();
        if first.len() < expected {
            self.violation(format!("{} of {expected} targets recovered", first.len()));
        }
        let last = first.values().max().copied();
        let last = last.unwrap_or(record.faults_end_ms);
        self.recovery_ms = (last - record.faults_end_ms - record.interval_ms).max(0);
        let allowed_ms = record.in_flight_ms().max(record.presumed_ms());
        if self.recovery_ms > RECOVERY_MS.max(allowed_ms) {
            self.violation(format!("recovered only after {} ms", self.recovery_ms));
        }
    }
}

// === impl Record ===

impl Record {
    /// Returns the time before which a killed process has spilled all its scrapes, if a later
    /// process has found them.
    fn spilled_until_ms(&self, process: &Process) -> Option<i64> {
        let killed_ms = process.killed_ms?;
        let mut others = self.processes.iter();
        let is_back = others.any(|it| it.name == process.name && it.started_ms >= killed_ms);
        let after_ms = self
            .spill_after_ms
            .filter(|_| is_back && !process.lost_disk)?;
        Some(killed_ms - after_ms - SPILL_MS - READ_MS)
    }

    /// Returns the part of a range in which some receivers of a group knew of a change of its
    /// members and others did not.
    fn view_lag_ms(&self, group: &str, from_ms: i64, to_ms: i64) -> i64 {
        let lags = self.view_lag_ms.iter().filter(|(of, ..)| of == group);
        let within = lags.map(|(_, from, to)| (*to).min(to_ms) - (*from).max(from_ms));
        within.filter(|ms| *ms > 0).sum()
    }

    /// Returns the time from the last fault until the Exports in flight have ended and been
    /// retried. A hanging backend holds a request until its deadline, and a lane with slow
    /// requests has a later deadline.
    fn in_flight_ms(&self) -> i64 {
        let end_ms = self.faults_end_ms;
        let processes = self.processes.iter();
        let processes = processes.filter(|it| it.killed_ms.is_none_or(|ms| ms > end_ms));
        let exports = processes.flat_map(|it| &it.exports);
        let in_flight = exports.filter(|export| export.at_ms < end_ms);
        let ends = in_flight.map(|export| export.ended_ms - end_ms);
        ends.max().map_or(0, |rest_ms| rest_ms + RETRY_MS)
    }

    /// Returns the time of the kill of a process that had pending batches, or may have had some
    /// on its disk.
    fn left_backlog_ms(&self, process: &Process) -> Option<i64> {
        let has_backlog = process.account.waiting > 0 || self.spill_after_ms.is_some();
        process.killed_ms.filter(|_| has_backlog)
    }

    /// Returns the time from the last fault until no receiver is presumed to return with a
    /// backlog.
    fn presumed_ms(&self) -> i64 {
        let is_last = |process: &&Process| {
            let mut others = self.processes.iter();
            !others.any(|it| it.name == process.name && it.started_ms > process.started_ms)
        };
        let absent = self.processes.iter().filter(is_last);
        let until_ms = absent.filter_map(|it| self.presumed_until_ms(it));
        until_ms.max().map_or(0, |ms| ms - self.faults_end_ms)
    }

    /// Returns the time until which peers wait for the backlog of a killed process:
    /// `--shard.handover-timeout`, or `--shard.away-timeout` if it may be on disk, and two
    /// rounds of polls.
    pub(super) fn presumed_until_ms(&self, process: &Process) -> Option<i64> {
        let timeout = match self.spill_after_ms {
            Some(_) if !process.lost_disk => AWAY_TIMEOUT,
            _ => HANDOVER_TIMEOUT,
        };
        let killed_ms = self.left_backlog_ms(process)?;
        Some(killed_ms + timeout.as_millis() as i64 + 2 * ROUND_MS)
    }

    fn was_unsettled(&self, group: &str, from_ms: i64, to_ms: i64) -> bool {
        let mut ranges = self.unsettled_ms.iter().filter(|(of, ..)| of == group);
        ranges.any(|(_, from, to)| *from <= to_ms && from_ms <= *to)
    }
}

// === impl Process ===

impl Process {
    /// Returns true if the process ended or lost targets during this scrape.
    fn ended_during(&self, scrape: &AnsweredScrape) -> bool {
        let ends = self.killed_ms.iter().chain(&self.stopped_ms);
        let mut ends = ends.chain(&self.reassigned_ms);
        let began_ms = scrape.at_ms - REQUEST_MS;
        ends.any(|end| (began_ms..=scrape.at_ms + READ_MS).contains(end))
    }
}

/// Instance and number of each scrape that a process sent.
fn sent_scrapes(process: &Process) -> impl Iterator<Item = (String, u64)> {
    let batches = process.sent().into_iter();
    batches.filter_map(|batch| Some((batch.instance.clone(), batch.number?)))
}

/// Index of the process that scraped.
fn process_of(scrape: &AnsweredScrape, processes: &[Process]) -> Option<usize> {
    processes
        .iter()
        .rposition(|process| process.name == scrape.receiver && process.started_ms <= scrape.at_ms)
}
