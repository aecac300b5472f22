//! Judges a scenario by the laws. Sources are the stand-in's ledger, the responses of the
//! targets, and the accounts of the receivers.

mod accounts;
mod delivery;
mod flow;
mod losses;
mod refusals;
mod slots;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{record::Record, shape::MEMORY_BOUND};

use delivery::Deliveries;

pub(crate) use flow::first;

/// Cost of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// Samples that were acquired and never arrived.
    pub lost: usize,
    /// Samples that arrived out of order.
    pub out_of_order: usize,
    /// Samples that arrived with a second value for one timestamp.
    pub conflicting: usize,
    /// Samples that arrived again with the same value.
    pub duplicates: usize,
    /// Staleness markers of running targets.
    pub markers: usize,
    /// Samples that were older than those of the other, newly elected replica.
    pub overtaken: usize,
    /// Samples that the backend refused because of the scenario's fault.
    pub refused: usize,
    /// Samples that the receiver dropped because its clock had shown their time before.
    pub repeated: usize,
    /// Samples that expired in an outbox and are accounted for.
    pub expired: usize,
    /// Maximum number of samples that were lost with the memory of a killed receiver.
    pub died: usize,
    /// Elections of a replica group, including the first.
    pub elections: u64,
    /// Slots of targets without a scrape.
    pub missed_slots: usize,
    /// Maximum resident memory of a process, in bytes.
    pub peak_memory: u64,
    /// Time from the end of the fault until the samples of all targets flow. `None` if some
    /// never flow.
    pub recovery: Option<Duration>,
    /// Broken laws that hold on a machine of any speed.
    pub violations: Vec<String>,
    /// Broken laws that a starved machine can break.
    pub timing_violations: Vec<String>,
}

/// Maximum time until all samples flow again.
const MAX_RECOVERY: Duration = Duration::from_secs(10);

/// Judges a run at one destination.
pub(crate) fn judge(record: &Record) -> Judgement {
    let mut judgement = Judgement {
        elections: record.elections,
        peak_memory: record.peak_memory,
        violations: record.violations.clone(),
        ..Judgement::default()
    };
    let deliveries = Deliveries::of(record);
    judgement.refusals(record);
    judgement.losses(record, &deliveries);
    judgement.slots(record, &deliveries);
    judgement.accounts(record);
    judgement.recovery = flow::recovery(record);
    judgement.bounds(record);
    judgement
}

// === impl Judgement ===

impl Judgement {
    /// Returns `true` if no law was broken.
    pub(crate) fn passed(&self) -> bool {
        self.violations.is_empty() && self.timing_violations.is_empty()
    }

    /// Descriptions of all broken laws.
    pub(crate) fn all_violations(&self) -> impl Iterator<Item = &String> {
        self.violations.iter().chain(&self.timing_violations)
    }

    /// Merges the judgement of the second destination.
    pub(crate) fn merge(mut self, second: Self) -> Self {
        let named = |violation: String| format!("second destination: {violation}");
        self.violations
            .extend(second.violations.into_iter().map(named));
        let timing = second.timing_violations.into_iter();
        self.timing_violations.extend(timing.map(named));
        let recoveries = self.recovery.zip(second.recovery);
        Self {
            lost: self.lost + second.lost,
            out_of_order: self.out_of_order + second.out_of_order,
            conflicting: self.conflicting + second.conflicting,
            duplicates: self.duplicates + second.duplicates,
            markers: self.markers + second.markers,
            overtaken: self.overtaken + second.overtaken,
            refused: self.refused + second.refused,
            elections: self.elections.max(second.elections),
            recovery: recoveries.map(|(first, second)| first.max(second)),
            ..self
        }
    }

    /// Adds a broken law that holds on a machine of any speed.
    fn violates(&mut self, violation: impl Into<String>) {
        self.violations.push(violation.into());
    }

    /// Adds a broken law that a starved machine can break.
    fn violates_timing(&mut self, violation: impl Into<String>) {
        self.timing_violations.push(violation.into());
    }

    fn bounds(&mut self, record: &Record) {
        for (n, what) in [
            (self.out_of_order, "samples arrived out of order"),
            (self.conflicting, "samples have two values"),
        ] {
            if n > 0 {
                self.violates(format!("{n} {what}"));
            }
        }
        if record.peak_memory > MEMORY_BOUND {
            let (peak, bound) = (record.peak_memory >> 20, MEMORY_BOUND >> 20);
            self.violates(format!("{peak} MiB of memory, {bound} are allowed"));
        }
        self.timing(record);
    }

    /// Checks laws that a scrape timeout, a late export or a fault without effect can
    /// break.
    fn timing(&mut self, record: &Record) {
        for (n, what) in [
            (self.lost, "samples are lost"),
            (self.markers, "staleness markers of running targets"),
        ] {
            if n > 0 {
                self.violates_timing(format!("{n} {what}"));
            }
        }
        match self.recovery {
            Some(recovery) if recovery <= MAX_RECOVERY => {}
            Some(recovery) => {
                self.violates_timing(format!("{recovery:?} until all samples flowed again"));
            }
            None => self.violates_timing("some samples never flowed again"),
        }
        if record.elections > record.rules.elections {
            self.violates_timing(format!("{} elections", record.elections));
        }
        if record.acknowledged.is_empty() {
            self.violates_timing("no push was acknowledged");
        }
        if record.rules.refuses.is_some() && self.refused == 0 {
            self.violates_timing("no sample was refused");
        }
        if record.rules.allows_repeated_times && self.repeated == 0 {
            self.violates_timing("no time was repeated");
        }
        if record.rules.allows_expiry && self.expired == 0 {
            self.violates_timing("no sample has expired");
        }
    }
}
