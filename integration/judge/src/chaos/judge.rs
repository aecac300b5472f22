//! What a scenario cost, held against the laws: read from the stand-in's ledger, the
//! targets' memory, and the accounts of the receivers.

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

/// What a scenario cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// Samples that were acquired and never arrived.
    pub lost: usize,
    /// Samples that arrived out of order.
    pub out_of_order: usize,
    /// Samples that arrived with a second value for one time.
    pub conflicting: usize,
    /// Samples that arrived again.
    pub duplicates: usize,
    /// Staleness markers within the life of a target.
    pub markers: usize,
    /// Samples that came after the other replica's newer ones, when that was elected.
    pub overtaken: usize,
    /// Samples that the scenario's own fault refused.
    pub refused: usize,
    /// Samples of times that a clock showed for the second time, refused by the
    /// receiver.
    pub repeated: usize,
    /// Samples given up, and booked so.
    pub expired: usize,
    /// Samples that were in the memory of a killed receiver, at most.
    pub died: usize,
    /// Elections of a replica group, the first included.
    pub elections: u64,
    /// Slots of targets without a scrape.
    pub missed_slots: usize,
    /// The most memory that one process had resident, in bytes.
    pub peak_memory: u64,
    /// From the end of the fault until the samples of all targets flowed.
    pub recovery: Option<Duration>,
    /// Why it is not good, in words.
    pub complaints: Vec<String>,
}

/// Lanes have to flow again this soon.
const MAX_RECOVERY: Duration = Duration::from_secs(10);

/// Judges a run.
pub(crate) fn judge(record: &Record) -> Judgement {
    let mut judgement = Judgement {
        elections: record.elections,
        peak_memory: record.peak_memory,
        complaints: record.complaints.clone(),
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
    /// Whether the scenario cost nothing that it must not cost.
    pub(crate) fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }

    fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
    }

    fn bounds(&mut self, record: &Record) {
        for (n, what) in [
            (self.lost, "samples are lost"),
            (self.out_of_order, "samples arrived out of order"),
            (self.conflicting, "samples have two values"),
            (self.markers, "staleness markers of targets that live"),
        ] {
            if n > 0 {
                self.complain(format!("{n} {what}"));
            }
        }
        match self.recovery {
            Some(recovery) if recovery <= MAX_RECOVERY => {}
            Some(recovery) => self.complain(format!("{recovery:?} until everything flowed again")),
            None => self.complain("something never flowed again"),
        }
        if record.peak_memory > MEMORY_BOUND {
            let (peak, bound) = (record.peak_memory >> 20, MEMORY_BOUND >> 20);
            self.complain(format!("{peak} MiB of memory, {bound} are allowed"));
        }
        if record.elections > record.rules.elections {
            self.complain(format!("{} elections", record.elections));
        }
        if record.acknowledged.is_empty() {
            self.complain("no push was acknowledged");
        }
        if record.rules.refuses.is_some() && self.refused == 0 {
            self.complain("nothing was refused");
        }
        if record.rules.repeats && self.repeated == 0 {
            self.complain("no time came twice");
        }
        if record.rules.expires && self.expired == 0 {
            self.complain("nothing has expired");
        }
    }
}
