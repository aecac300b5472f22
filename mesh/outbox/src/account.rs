//! The account of an outbox: what became of every sample.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{entry::Weight, lanes::Lanes};
use mesh_contract::verdict::{Reason, Verdict};

/// Why a batch was given up without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// It waited longer than the outbox keeps batches.
    TooOld,
    /// The outbox was full and it was the oldest.
    OutboxFull,
    /// It was spilled and the disk does not give it back.
    Unreadable,
    /// Its sender, who was never told that it is taken, left before it was sent.
    Withdrawn,
}

/// What became of every sample that was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken into the outbox.
    pub pushed: u64,
    /// In the backend.
    pub stored: u64,
    /// Accepted by the backend and dropped as another replica's copy.
    pub deduplicated: u64,
    /// Refused by the backend or an exporter, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Given up without a verdict, by reason.
    pub expired: BTreeMap<Expiry, u64>,
    /// Neither yet.
    pub waiting: u64,
    /// How many of those that wait are on the disk.
    pub spilled: u64,
    /// Bytes of memory of the batches that wait.
    pub waiting_bytes: u64,
}

/// An account as metrics, all of one moment.
#[derive(Debug)]
pub struct AccountCollector {
    lanes: Arc<Lanes>,
}

// === impl Expiry ===

impl Expiry {
    /// All reasons.
    pub const ALL: [Self; 4] = [
        Self::TooOld,
        Self::OutboxFull,
        Self::Unreadable,
        Self::Withdrawn,
    ];

    /// The reason's name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::OutboxFull => "outbox_full",
            Self::Unreadable => "unreadable",
            Self::Withdrawn => "withdrawn",
        }
    }
}

// === impl Account ===

impl Account {
    /// Whether every sample is accounted for (law 10).
    pub fn balances(&self) -> bool {
        let rejected: u64 = self.rejected.values().sum();
        let expired: u64 = self.expired.values().sum();
        self.pushed == self.stored + self.deduplicated + rejected + expired + self.waiting
    }

    pub(super) fn push(&mut self, weight: Weight) {
        self.pushed += weight.samples;
        self.waiting += weight.samples;
        self.spilled += weight.spilled;
        self.waiting_bytes += weight.bytes as u64;
    }

    /// Books that a batch is kept elsewhere now.
    pub(super) fn reweigh(&mut self, before: Weight, after: Weight) {
        self.spilled = self.spilled + after.spilled - before.spilled;
        self.waiting_bytes = self.waiting_bytes + after.bytes as u64 - before.bytes as u64;
    }

    pub(super) fn expire(&mut self, why: Expiry, weight: Weight) {
        self.leave(weight);
        *self.expired.entry(why).or_default() += weight.samples;
    }

    /// Books a verdict. A verdict over more samples than were sent, a peer's
    /// mistake, is cut to what was sent, so that the account still balances.
    pub(super) fn judge(&mut self, verdict: &Verdict, weight: Weight) {
        self.leave(weight);
        let mut rest = weight.samples;
        let mut take = |n: u64| {
            let taken = n.min(rest);
            rest -= taken;
            taken
        };
        self.deduplicated += take(verdict.deduplicated);
        for &(reason, n) in &verdict.rejected {
            *self.rejected.entry(reason).or_default() += take(n);
        }
        self.stored += rest;
    }

    fn leave(&mut self, weight: Weight) {
        self.waiting -= weight.samples;
        self.spilled -= weight.spilled;
        self.waiting_bytes -= weight.bytes as u64;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pushed={} stored={} deduplicated={} waiting={} spilled={}",
            self.pushed, self.stored, self.deduplicated, self.waiting, self.spilled
        )?;
        for (reason, n) in &self.rejected {
            write!(f, " rejected{{{}}}={n}", reason.as_str())?;
        }
        for (reason, n) in &self.expired {
            write!(f, " expired{{{}}}={n}", reason.as_str())?;
        }
        Ok(())
    }
}

// === impl AccountCollector ===

impl AccountCollector {
    pub(super) fn new(lanes: Arc<Lanes>) -> Self {
        Self { lanes }
    }
}

impl Collector for AccountCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (account, held_back) = (self.lanes.account(), self.lanes.held_back());
        let counters = [
            (
                "outbox_samples_pushed",
                "Samples taken into the outbox",
                account.pushed,
            ),
            (
                "outbox_samples_stored",
                "Samples the backend has stored",
                account.stored,
            ),
            (
                "outbox_samples_deduplicated",
                "Samples the backend dropped as another replica's copy",
                account.deduplicated,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)?;
        }
        let rejected =
            Reason::ALL.map(|r| (r.as_str(), account.rejected.get(&r).copied().unwrap_or(0)));
        by_reason(
            &mut encoder,
            "outbox_samples_rejected",
            "Samples refused for good",
            &rejected,
        )?;
        let expired =
            Expiry::ALL.map(|e| (e.as_str(), account.expired.get(&e).copied().unwrap_or(0)));
        by_reason(
            &mut encoder,
            "outbox_samples_expired",
            "Samples given up without a verdict",
            &expired,
        )?;
        let gauges = [
            (
                "outbox_samples_waiting",
                "Samples that wait for a verdict",
                account.waiting,
            ),
            (
                "outbox_samples_spilled",
                "Samples among those waiting that are on the disk",
                account.spilled,
            ),
            (
                "outbox_batches_held_back",
                "Batches that wait until another receiver has delivered what is older",
                held_back.batches,
            ),
            (
                "outbox_samples_held_back",
                "Samples of those batches",
                held_back.samples,
            ),
            (
                "outbox_bytes",
                "Bytes of memory of the batches that wait",
                account.waiting_bytes,
            ),
            (
                "outbox_bytes_limit",
                "Bytes of memory that batches may take",
                self.lanes.max_bytes() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        self.lanes.stats.encode(&mut encoder)
    }
}

fn by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(&'static str, u64)],
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, value) in values {
        let counter = ConstCounter::new(*value);
        counter.encode(family.encode_family(&[("reason", *reason)])?)?;
    }
    Ok(())
}
