//! Status of targets, for the status page and the heartbeat.

use std::sync::Arc;

use mesh_model::{config::discovery::TargetGroup, labels::Labels};
use parking_lot::{Mutex, MutexGuard};

use super::{
    failure::FailureReason,
    job::Job,
    target::{Target, labels_before_relabeling},
};
use crate::ownership::ScrapeRecord;

/// All jobs and their targets, as of the last sync.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Jobs in the order of the configuration.
    pub jobs: Vec<JobStatus>,
}

/// Targets of one job.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// Name of the job.
    pub job: String,
    /// Active targets.
    pub targets: Vec<TargetStatus>,
    /// Dropped targets, at most `keep_dropped_targets`.
    pub dropped: Arc<[DroppedTarget]>,
    /// Number of dropped targets.
    pub dropped_count: usize,
    /// Errors of invalid targets.
    pub errors: Vec<String>,
}

/// Target that relabeling dropped. Refers to its group, since a job can drop most of a
/// cluster.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    pub(super) job: Arc<Job>,
    pub(super) group: Arc<TargetGroup>,
    /// Position in the group.
    pub(super) index: u32,
}

/// Target and the result of its last scrape.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// Target.
    pub target: Arc<Target>,
    /// Health of the target; `None` if another receiver of the replica group scrapes it.
    pub health: Option<Health>,
}

/// Health of a target: the result of its last scrape. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<HealthState>>);

#[derive(Clone, Debug, Default)]
struct HealthState {
    last: Option<LastScrape>,
    /// Last scrape by the previous owner of the target.
    inherited: Option<ScrapeRecord>,
}

/// Last scrape of a target.
#[derive(Clone, Debug)]
pub struct LastScrape {
    /// Start of the scrape, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Number of samples that the target exposed.
    pub samples: u64,
    /// Reason and message of the failure; `None` if the scrape succeeded.
    pub failure: Option<(FailureReason, String)>,
}

// === impl Status ===

impl Status {
    /// Returns true if at least one target of this receiver is up.
    ///
    /// A target is up if its last scrape succeeded and is at most two intervals old. A
    /// scrape by the previous owner counts until this receiver has scraped the target.
    pub fn is_scraping(&self, now_ms: i64) -> bool {
        let targets = self.jobs.iter().flat_map(|job| &job.targets);
        let mut own = targets.filter_map(|it| Some((&it.target, it.health.as_ref()?.record()?)));
        own.any(|(target, last)| {
            let slots_ms = 2 * i64::try_from(target.interval.as_millis()).unwrap_or(i64::MAX / 4);
            last.is_up && now_ms - last.time_ms <= slots_ms
        })
    }
}

// === impl DroppedTarget ===

impl DroppedTarget {
    /// Returns the labels before relabeling.
    pub fn labels(&self) -> Labels {
        let target = &self.group.targets[self.index as usize];
        labels_before_relabeling(&self.job.config, &self.group, target).build()
    }
}

// === impl Health ===

impl Health {
    /// Returns the last scrape by this receiver.
    pub fn last(&self) -> Option<LastScrape> {
        self.lock().last.clone()
    }

    pub(crate) fn set(&self, last: LastScrape) {
        self.lock().last = Some(last);
    }

    /// Sets the last scrape by the previous owner of the target.
    pub(crate) fn inherit(&self, record: ScrapeRecord) {
        self.lock().inherited = Some(record);
    }

    /// Returns the last scrape by this receiver, or else by the previous owner.
    pub(crate) fn record(&self) -> Option<ScrapeRecord> {
        let state = self.lock();
        let last = state.last.as_ref().map(|last| ScrapeRecord {
            time_ms: last.time_ms,
            is_up: last.failure.is_none(),
        });
        last.or(state.inherited)
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock()
    }
}
