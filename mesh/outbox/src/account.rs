//! The account of an outbox: counts each pushed sample by its outcome.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use mesh_contract::verdict::{Reason, Verdict};

use crate::{
    delay::{self, Delay},
    hold_backs::HeldBackTotals,
    outcome::Expiry,
    spill::SpillStats,
    weight::Weight,
};

/// Counts the pushed samples by their outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Samples pushed into the outbox.
    pub pushed: u64,
    /// Samples that the backend stored.
    pub stored: u64,
    /// Samples that the backend accepted and dropped as another replica's copy.
    pub deduplicated: u64,
    /// Samples that the backend or an exporter rejected, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Samples dropped without a verdict, by reason.
    pub expired: BTreeMap<Expiry, u64>,
    /// Pending samples, in memory and on the disk.
    pub waiting: u64,
    /// Pending samples on the disk.
    pub spilled: u64,
    /// Bytes of memory of the pending batches.
    pub waiting_bytes: u64,
}

/// Exports an account as metrics.
#[derive(Debug)]
pub struct AccountCollector {
    source: Arc<dyn AccountSource>,
}

/// A queue that keeps an account.
pub(crate) trait AccountSource: fmt::Debug + Send + Sync {
    /// Returns the account at this moment.
    fn account(&self) -> Account;

    /// Returns the account of each destination, if exporters have named several.
    fn destinations(&self) -> BTreeMap<String, Account>;

    /// Returns the bytes in flight to all destinations.
    fn in_flight_bytes(&self) -> u64;

    /// Returns the time in which the slowest destination receives its backlog. `None` while
    /// one with a backlog receives nothing.
    fn backlog(&self) -> Option<Duration>;

    /// Returns the delay of each destination. The name is empty if exporters have not named
    /// several.
    fn delays(&self) -> BTreeMap<String, Delay>;

    /// Counts the batches that are held back at this moment.
    fn held_back(&self) -> HeldBackTotals;

    /// Returns the maximum bytes of batches in memory.
    fn max_bytes(&self) -> usize;

    /// Returns the counters of the spill log.
    fn spill_stats(&self) -> &SpillStats;
}

// === impl Account ===

impl Account {
    /// Returns true if every sample is accounted for (law 10).
    pub fn balances(&self) -> bool {
        let rejected: u64 = self.rejected.values().sum();
        let expired: u64 = self.expired.values().sum();
        self.pushed == self.stored + self.deduplicated + rejected + expired + self.waiting
    }

    pub(crate) fn record_push(&mut self, weight: Weight) {
        self.pushed += weight.samples;
        self.waiting += weight.samples;
        self.spilled += weight.spilled;
        self.waiting_bytes += weight.bytes as u64;
    }

    /// Records that a batch was compressed or spilled.
    pub(crate) fn record_move(&mut self, before: Weight, after: Weight) {
        self.spilled = self.spilled + after.spilled - before.spilled;
        self.waiting_bytes = self.waiting_bytes + after.bytes as u64 - before.bytes as u64;
    }

    pub(crate) fn record_expiry(&mut self, expiry: Expiry, weight: Weight) {
        self.remove_waiting(weight);
        *self.expired.entry(expiry).or_default() += weight.samples;
    }

    /// Removes a pending batch as if it had not been pushed.
    pub(crate) fn forget(&mut self, weight: Weight) {
        self.remove_waiting(weight);
        self.pushed -= weight.samples;
    }

    /// Records a verdict, whose counts are not more than the samples of the batch.
    pub(crate) fn record_verdict(&mut self, verdict: &Verdict, weight: Weight) {
        self.remove_waiting(weight);
        self.deduplicated += verdict.deduplicated;
        for &(reason, n) in &verdict.rejected {
            *self.rejected.entry(reason).or_default() += n;
        }
        self.stored += weight.samples - verdict.not_stored();
    }

    fn remove_waiting(&mut self, weight: Weight) {
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
    pub(crate) fn new(source: Arc<dyn AccountSource>) -> Self {
        Self { source }
    }
}

impl Collector for AccountCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (account, held_back) = (self.source.account(), self.source.held_back());
        let counters = [
            (
                "outbox_samples_pushed",
                "Samples pushed into the outbox",
                account.pushed,
            ),
            (
                "outbox_samples_stored",
                "Samples that the backend stored",
                account.stored,
            ),
            (
                "outbox_samples_deduplicated",
                "Samples that the backend dropped as another replica's copy",
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
            "Samples that the backend or an exporter rejected",
            &rejected,
        )?;
        let expired =
            Expiry::ALL.map(|e| (e.as_str(), account.expired.get(&e).copied().unwrap_or(0)));
        by_reason(
            &mut encoder,
            "outbox_samples_expired",
            "Samples dropped without a verdict",
            &expired,
        )?;
        let gauges = [
            (
                "outbox_samples_waiting",
                "Pending samples, in memory and on disk",
                account.waiting,
            ),
            (
                "outbox_samples_spilled",
                "Pending samples on disk",
                account.spilled,
            ),
            (
                "outbox_batches_held_back",
                "Batches that wait until another receiver has delivered older ones",
                held_back.batches,
            ),
            (
                "outbox_samples_held_back",
                "Samples in batches that wait until another receiver has delivered older ones",
                held_back.samples,
            ),
            (
                "outbox_bytes",
                "Bytes of memory of the pending batches",
                account.waiting_bytes,
            ),
            (
                "outbox_bytes_limit",
                "Maximum bytes of memory of the pending batches",
                self.source.max_bytes() as u64,
            ),
            (
                "outbox_in_flight_bytes",
                "Bytes of batches in Exports that have no outcome yet",
                self.source.in_flight_bytes(),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let backlog = self
            .source
            .backlog()
            .map_or(f64::INFINITY, |it| it.as_secs_f64());
        let (name, help) = (
            "outbox_backlog_seconds",
            "Time in which the pending samples are delivered at the current rate of the slowest \
             destination. Infinite while it receives nothing",
        );
        let gauge = ConstGauge::new(backlog);
        gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        by_destination(&mut encoder, &self.source.destinations())?;
        delay::encode(&mut encoder, &self.source.delays())?;
        self.source.spill_stats().encode(&mut encoder)
    }
}

/// Encodes what each destination has received, if there are several.
fn by_destination(
    encoder: &mut DescriptorEncoder<'_>,
    destinations: &BTreeMap<String, Account>,
) -> Result<(), fmt::Error> {
    type Value = fn(&Account) -> u64;
    let families: [(&str, &str, MetricType, Value); 5] = [
        (
            "outbox_destination_samples_stored",
            "Samples that the destination stored. Only with several destinations",
            MetricType::Counter,
            |account| account.stored,
        ),
        (
            "outbox_destination_samples_deduplicated",
            "Samples that the destination dropped as another replica's copy. Only with several \
             destinations",
            MetricType::Counter,
            |account| account.deduplicated,
        ),
        (
            "outbox_destination_samples_rejected",
            "Samples that the destination or an exporter rejected. Only with several destinations",
            MetricType::Counter,
            |account| account.rejected.values().sum(),
        ),
        (
            "outbox_destination_samples_expired",
            "Samples dropped without a verdict of the destination. Only with several destinations",
            MetricType::Counter,
            |account| account.expired.values().sum(),
        ),
        (
            "outbox_destination_samples_waiting",
            "Samples pending for the destination. Only with several destinations",
            MetricType::Gauge,
            |account| account.waiting,
        ),
    ];
    for (name, help, kind, value) in families {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (destination, account) in destinations {
            let labels = [("destination", destination.as_str())];
            let metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Gauge => ConstGauge::new(value(account) as i64).encode(metric)?,
                _ => ConstCounter::new(value(account)).encode(metric)?,
            }
        }
    }
    Ok(())
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
