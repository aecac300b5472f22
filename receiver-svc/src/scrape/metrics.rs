//! Metrics of scraping.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{append::Counts, failure::FailureReason, storage::Rejection};
use crate::shard::Assignment;

/// Metrics of scraping. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScrapeMetrics {
    /// Completed scrapes, including failed ones.
    pub(crate) scrapes: Counter,
    failures: Family<ReasonLabel, Counter>,
    skipped: Family<ReasonLabel, Counter>,
    rejected: Family<ReasonLabel, Counter>,
    /// Samples that scrapes pushed to the outbox.
    pub(crate) samples: Counter,
    /// Slots that were missed because the previous scrape was still running.
    pub(crate) missed: Counter,
    /// Duration of scrapes.
    pub(crate) seconds: Histogram,
    targets: Family<TargetStateLabels, Gauge>,
    target_errors: Family<JobLabel, Counter>,
    owned: Gauge,
    displaced: Gauge,
    /// Bytes of the memory budget in use.
    pub(crate) budget_taken: Gauge,
    /// Maximum number of bytes in use at one time.
    pub(crate) budget_peak: Gauge,
    /// Memory budget in bytes.
    pub(crate) budget: Gauge,
    /// Memory of the series of all targets in bytes.
    pub(crate) series_taken: Gauge,
    /// Memory budget of the series of all targets in bytes.
    pub(crate) series_budget: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabel {
    job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetStateLabels {
    job: String,
    state: &'static str,
}

/// Reason for skipping a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// Outbox without room for the expected samples.
    OutboxFull,
}

const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

// === impl ScrapeMetrics ===

impl ScrapeMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            scrapes: Counter::default(),
            failures: Family::default(),
            skipped: Family::default(),
            rejected: Family::default(),
            samples: Counter::default(),
            missed: Counter::default(),
            seconds: Histogram::new(SECONDS),
            targets: Family::default(),
            target_errors: Family::default(),
            owned: Gauge::default(),
            displaced: Gauge::default(),
            budget_taken: Gauge::default(),
            budget_peak: Gauge::default(),
            budget: Gauge::default(),
            series_taken: Gauge::default(),
            series_budget: Gauge::default(),
        };
        // Creates the series of all reasons, so that `rate` sees the first increment.
        for reason in FailureReason::ALL {
            let reason = reason.as_str();
            let _ = metrics.failures.get_or_create(&ReasonLabel { reason });
        }
        for rejection in Rejection::ALL {
            let reason = rejection.as_str();
            let _ = metrics.rejected.get_or_create(&ReasonLabel { reason });
        }
        let reason = SkipReason::OutboxFull.as_str();
        let _ = metrics.skipped.get_or_create(&ReasonLabel { reason });
        metrics.describe(registry);
        metrics
    }

    fn describe(&self, registry: &mut Registry) {
        registry.register(
            "scrapes",
            "Number of scrapes, including failed ones",
            self.scrapes.clone(),
        );
        registry.register(
            "scrape_failures",
            "Number of failed scrapes by reason",
            self.failures.clone(),
        );
        registry.register(
            "scrapes_skipped",
            "Number of scrapes skipped by reason",
            self.skipped.clone(),
        );
        registry.register(
            "scrape_samples_rejected",
            "Number of exposed samples that the storage rules of Prometheus reject",
            self.rejected.clone(),
        );
        registry.register(
            "samples_scraped",
            "Number of samples scraped, including report series and staleness markers",
            self.samples.clone(),
        );
        registry.register(
            "scrape_slots_missed",
            "Number of scrape slots missed because the previous scrape was still running",
            self.missed.clone(),
        );
        registry.register(
            "scrape_seconds",
            "Duration of scrapes",
            self.seconds.clone(),
        );
        registry.register(
            "targets",
            "Number of targets by state: scraped by this receiver, scraped by others, or dropped",
            self.targets.clone(),
        );
        registry.register(
            "target_errors",
            "Number of invalid targets, counted at each discovery",
            self.target_errors.clone(),
        );
        registry.register(
            "shard_targets_owned",
            "Number of targets of all jobs that this receiver owns",
            self.owned.clone(),
        );
        registry.register(
            "shard_targets_displaced",
            "Number of targets of the replica group that are not owned by their first \
             receiver in rendezvous order, as that one has its share",
            self.displaced.clone(),
        );
        registry.register(
            "scrape_memory_bytes",
            "Memory budget in use by running scrapes",
            self.budget_taken.clone(),
        );
        registry.register(
            "scrape_memory_peak_bytes",
            "Maximum of the memory budget in use at one time",
            self.budget_peak.clone(),
        );
        registry.register(
            "scrape_memory_budget_bytes",
            "Memory budget of running scrapes",
            self.budget.clone(),
        );
        registry.register(
            "scrape_series_memory_bytes",
            "Memory of the series of all targets",
            self.series_taken.clone(),
        );
        registry.register(
            "scrape_series_memory_budget_bytes",
            "Memory budget of the series of all targets",
            self.series_budget.clone(),
        );
    }

    pub(crate) fn failed(&self, reason: FailureReason) {
        let reason = reason.as_str();
        self.failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn skipped(&self, skip: SkipReason) {
        let reason = skip.as_str();
        self.skipped.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn rejected(&self, counts: &Counts) {
        for (rejection, n) in Rejection::ALL.into_iter().zip(counts.rejected) {
            let reason = rejection.as_str();
            self.rejected
                .get_or_create(&ReasonLabel { reason })
                .inc_by(n);
        }
    }

    /// Sets the number of targets of a job that this receiver scrapes, that others scrape,
    /// and that relabeling dropped.
    pub(crate) fn targets(&self, job: &str, own: usize, others: usize, dropped: usize) {
        for (state, n) in [
            ("scraped", own),
            ("of_others", others),
            ("dropped", dropped),
        ] {
            let job = job.to_owned();
            let state = TargetStateLabels { job, state };
            self.targets.get_or_create(&state).set(n as i64);
        }
    }

    /// Sets the numbers of owned and displaced targets.
    pub(crate) fn set_assignment(&self, assignment: &Assignment) {
        self.owned.set(assignment.owned() as i64);
        self.displaced.set(assignment.displaced() as i64);
    }

    pub(crate) fn target_errors(&self, job: &str, errors: usize) {
        let job = job.to_owned();
        self.target_errors
            .get_or_create(&JobLabel { job })
            .inc_by(errors as u64);
    }

    /// Removes the series of a job that is no longer configured.
    pub(crate) fn remove_job(&self, job: &str) {
        for state in ["scraped", "of_others", "dropped"] {
            let job = job.to_owned();
            self.targets.remove(&TargetStateLabels { job, state });
        }
        let job = job.to_owned();
        self.target_errors.remove(&JobLabel { job });
    }
}

// === impl SkipReason ===

impl SkipReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::OutboxFull => "outbox_full",
        }
    }
}
