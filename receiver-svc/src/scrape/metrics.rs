//! What scraping counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{append::Counts, failure::Reason, storage::Refusal};
use crate::shard::Assignment;

/// What scraping counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScrapeMetrics {
    /// Scrapes that ended, also those that failed.
    pub(crate) scrapes: Counter,
    failures: Family<Because, Counter>,
    skipped: Family<Because, Counter>,
    refused: Family<Because, Counter>,
    /// Samples that scrapes gave to the outbox.
    pub(crate) samples: Counter,
    /// Slots in which a target was not scraped as the scrape before took too long.
    pub(crate) missed: Counter,
    /// How long scrapes took.
    pub(crate) seconds: Histogram,
    targets: Family<TargetState, Gauge>,
    target_errors: Family<Job, Counter>,
    owned: Gauge,
    displaced: Gauge,
    /// Bytes taken of the memory budget.
    pub(crate) budget_taken: Gauge,
    /// The most of it that was taken at once.
    pub(crate) budget_peak: Gauge,
    /// The memory budget.
    pub(crate) budget: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetState {
    job: String,
    state: &'static str,
}

/// Why a target was not scraped in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// The outbox has no room for what would come of it.
    OutboxFull,
}

const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

// === impl ScrapeMetrics ===

impl ScrapeMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let it = Self {
            scrapes: Counter::default(),
            failures: Family::default(),
            skipped: Family::default(),
            refused: Family::default(),
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
        };
        // All reasons are there from the start, so that a rate sees the first.
        for reason in Reason::ALL {
            let reason = reason.as_str();
            let _ = it.failures.get_or_create(&Because { reason });
        }
        for refusal in Refusal::ALL {
            let reason = refusal.as_str();
            let _ = it.refused.get_or_create(&Because { reason });
        }
        let reason = Skip::OutboxFull.as_str();
        let _ = it.skipped.get_or_create(&Because { reason });
        it.describe(registry);
        it
    }

    fn describe(&self, registry: &mut Registry) {
        registry.register(
            "scrapes",
            "Scrapes, failed ones included",
            self.scrapes.clone(),
        );
        registry.register(
            "scrape_failures",
            "Scrapes that failed",
            self.failures.clone(),
        );
        registry.register(
            "scrapes_skipped",
            "Slots in which a target was not scraped on purpose",
            self.skipped.clone(),
        );
        registry.register(
            "scrape_samples_refused",
            "Exposed samples that a Prometheus server would not store",
            self.refused.clone(),
        );
        registry.register(
            "samples_scraped",
            "Samples of scrapes, report series and staleness markers included",
            self.samples.clone(),
        );
        registry.register(
            "scrape_slots_missed",
            "Slots that a scrape of the slot before was still in",
            self.missed.clone(),
        );
        registry.register(
            "scrape_seconds",
            "How long scrapes took",
            self.seconds.clone(),
        );
        registry.register(
            "targets",
            "Targets by what becomes of them",
            self.targets.clone(),
        );
        registry.register(
            "target_errors",
            "Discovered targets that cannot be scraped, counted at each discovery",
            self.target_errors.clone(),
        );
        registry.register(
            "shard_targets_owned",
            "Targets of all jobs that are this receiver's",
            self.owned.clone(),
        );
        registry.register(
            "shard_targets_displaced",
            "Targets of the replica group that are not their first receiver's by rendezvous, \
             as that one has enough",
            self.displaced.clone(),
        );
        registry.register(
            "scrape_memory_bytes",
            "Memory that running scrapes have taken of their budget",
            self.budget_taken.clone(),
        );
        registry.register(
            "scrape_memory_peak_bytes",
            "Memory that scrapes have taken of their budget at once at most",
            self.budget_peak.clone(),
        );
        registry.register(
            "scrape_memory_budget_bytes",
            "Memory that running scrapes may take",
            self.budget.clone(),
        );
    }

    pub(crate) fn failed(&self, reason: Reason) {
        let reason = reason.as_str();
        self.failures.get_or_create(&Because { reason }).inc();
    }

    pub(crate) fn skipped(&self, skip: Skip) {
        let reason = skip.as_str();
        self.skipped.get_or_create(&Because { reason }).inc();
    }

    pub(crate) fn refused(&self, counts: &Counts) {
        for (refusal, n) in Refusal::ALL.into_iter().zip(counts.refused) {
            let reason = refusal.as_str();
            self.refused.get_or_create(&Because { reason }).inc_by(n);
        }
    }

    /// Notes how many targets of a job are scraped here, are another receiver's,
    /// and were dropped by relabeling.
    pub(crate) fn targets(&self, job: &str, own: usize, others: usize, dropped: usize) {
        for (state, n) in [
            ("scraped", own),
            ("of_others", others),
            ("dropped", dropped),
        ] {
            let job = job.to_owned();
            let state = TargetState { job, state };
            self.targets.get_or_create(&state).set(n as i64);
        }
    }

    /// Notes whose the targets are now.
    pub(crate) fn shared(&self, assignment: &Assignment) {
        self.owned.set(assignment.owned() as i64);
        self.displaced.set(assignment.displaced() as i64);
    }

    pub(crate) fn target_errors(&self, job: &str, errors: usize) {
        let job = job.to_owned();
        self.target_errors
            .get_or_create(&Job { job })
            .inc_by(errors as u64);
    }

    /// Forgets a job that is no longer configured.
    pub(crate) fn forget(&self, job: &str) {
        for state in ["scraped", "of_others", "dropped"] {
            let job = job.to_owned();
            self.targets.remove(&TargetState { job, state });
        }
        let job = job.to_owned();
        self.target_errors.remove(&Job { job });
    }
}

// === impl Skip ===

impl Skip {
    fn as_str(self) -> &'static str {
        match self {
            Self::OutboxFull => "outbox_full",
        }
    }
}
