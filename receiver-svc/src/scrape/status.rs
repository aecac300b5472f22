//! What is known of targets, for those who look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh::labels::Labels;

use super::{failure::Reason, target::Target};

/// All jobs and their targets, as of the last discovery.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// In the order of the configuration.
    pub jobs: Vec<JobStatus>,
}

/// The targets of a job.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// The job's name.
    pub job: String,
    /// Targets that relabeling kept.
    pub targets: Vec<TargetStatus>,
    /// Labels, before relabeling, of targets that it dropped; as many as the
    /// configuration wants remembered.
    pub dropped: Vec<Labels>,
    /// How many were dropped.
    pub dropped_count: usize,
    /// Targets that cannot be scraped, and why.
    pub errors: Vec<String>,
}

/// A target and how its last scrape went.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// The target.
    pub target: Arc<Target>,
    /// Its health; `None` where another receiver of the replica group scrapes it.
    pub health: Option<Health>,
}

/// How the last scrape of a target went. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Option<LastScrape>>>);

/// The last scrape of a target.
#[derive(Clone, Debug)]
pub struct LastScrape {
    /// When it was, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many samples the target exposed.
    pub samples: u64,
    /// Why it failed, if it did.
    pub failure: Option<(Reason, String)>,
}

// === impl Health ===

impl Health {
    /// The last scrape, once there was one.
    pub fn last(&self) -> Option<LastScrape> {
        self.lock().clone()
    }

    pub(crate) fn set(&self, last: LastScrape) {
        *self.lock() = Some(last);
    }

    fn lock(&self) -> MutexGuard<'_, Option<LastScrape>> {
        // Nobody leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
