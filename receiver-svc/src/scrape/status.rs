//! What is known of targets, for those who look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh::labels::Labels;

use super::{failure::Reason, target::Target};
use crate::handover::Seen;

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
pub struct Health(Arc<Mutex<Known>>);

#[derive(Clone, Debug, Default)]
struct Known {
    last: Option<LastScrape>,
    /// The last scrape of the receiver that the target was taken over from.
    before: Option<Seen>,
}

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

// === impl Status ===

impl Status {
    /// Whether this receiver scrapes: whether any of its own targets answered in
    /// one of its last two slots, it or the receiver that it has the target from. One
    /// without targets, or none of whose targets answers, does not.
    pub fn is_scraping(&self, now_ms: i64) -> bool {
        let targets = self.jobs.iter().flat_map(|job| &job.targets);
        let mut own = targets.filter_map(|it| Some((&it.target, it.health.as_ref()?.seen()?)));
        own.any(|(target, last)| {
            let slots_ms = 2 * i64::try_from(target.interval.as_millis()).unwrap_or(i64::MAX / 4);
            last.is_up && now_ms - last.time_ms <= slots_ms
        })
    }
}

// === impl Health ===

impl Health {
    /// The last scrape, once there was one.
    pub fn last(&self) -> Option<LastScrape> {
        self.lock().last.clone()
    }

    pub(crate) fn set(&self, last: LastScrape) {
        self.lock().last = Some(last);
    }

    /// Takes the target over from a receiver whose last scrape went like this.
    pub(crate) fn take_over(&self, before: Seen) {
        self.lock().before = Some(before);
    }

    /// The last scrape here, or of the receiver before where there was none yet.
    pub(crate) fn seen(&self) -> Option<Seen> {
        let known = self.lock();
        let last = known.last.as_ref().map(|last| Seen {
            time_ms: last.time_ms,
            is_up: last.failure.is_none(),
        });
        last.or(known.before)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nobody leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
