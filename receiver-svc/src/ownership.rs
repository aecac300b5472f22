//! Contract between scraping and the handover of targets.
//!
//! A target is scraped by one receiver of its replica group at a time (law 1). The scrape
//! loop of a target holds a [`Claim`] and starts when the claim is granted. [`Ownership`]
//! grants claims; [`handover`](crate::handover) implements it. Scraping knows nothing else of
//! the other receivers.

use std::{collections::BTreeSet, fmt, sync::Arc};

use tokio::sync::{oneshot, watch};

use crate::shard::Assignment;

/// Grants claims, so that no two receivers scrape one target at the same time.
pub trait Ownership: fmt::Debug + Send + Sync {
    /// Replaces the other members of the replica group.
    fn set_members(&self, others: BTreeSet<String>);

    /// Replaces the assignment of targets to receivers. A target that is scraped here and
    /// that another receiver owns now stays here until that receiver claims it.
    fn set_assignment(&self, assignment: Arc<Assignment>);

    /// Watches the changes to the assignment that other receivers ask for.
    fn overrides(&self) -> watch::Receiver<Overrides>;

    /// Requests a target for a job. The grant is sent when no other receiver scrapes the
    /// target. The sender is dropped when this receiver stops.
    fn request(&self, key: &ClaimKey) -> Request;

    /// Withdraws a request, or gives a granted target up.
    fn release(&self, key: &ClaimKey, id: u64);

    /// Records a scrape whose samples are in the outbox.
    fn record_scrape(&self, target: u64, scrape: ScrapeRecord);

    /// Records that a target is gone from discovery and that its series have ended.
    fn record_end(&self, target: u64);
}

/// Claim of one target; releases the target when dropped.
#[derive(Debug)]
pub struct Claim {
    ownership: Arc<dyn Ownership>,
    key: ClaimKey,
    request: Request,
}

/// Target and job of a claim. Peers are asked about the target; within one receiver two jobs
/// may scrape the same target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Identity of the target.
    pub target: u64,
    /// Name of the job.
    pub job: Arc<str>,
}

/// Request for a target.
#[derive(Debug)]
pub struct Request {
    /// Number of the request. Distinguishes it from an earlier one for the same target and job.
    pub id: u64,
    /// Receives the grant: the last scrape of the target, if one is known.
    pub granted: oneshot::Receiver<Option<ScrapeRecord>>,
}

/// Time and outcome of a scrape, by this receiver or a previous owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScrapeRecord {
    /// Time of the scrape, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// `true` if the target answered.
    pub is_up: bool,
}

/// Deviations from the assignment, as other receivers have reported them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Targets of other receivers that this receiver scrapes for now.
    pub retained: BTreeSet<u64>,
    /// Members that are shutting down, by name. They get no targets.
    pub leaving: BTreeSet<String>,
}

// === impl Claim ===

impl Claim {
    /// Requests a target for a job.
    pub fn new(ownership: Arc<dyn Ownership>, target: u64, job: &str) -> Self {
        let job = job.into();
        let key = ClaimKey { target, job };
        let request = ownership.request(&key);
        Self {
            ownership,
            key,
            request,
        }
    }

    /// Waits until no other receiver scrapes the target. Returns the last scrape of the
    /// target if one is known. Never completes once this receiver stops.
    pub async fn granted(&mut self) -> Option<ScrapeRecord> {
        match (&mut self.request.granted).await {
            Ok(last) => last,
            Err(_) => std::future::pending().await,
        }
    }

    /// Records a scrape whose samples are in the outbox.
    pub fn record_scrape(&self, scrape: ScrapeRecord) {
        self.ownership.record_scrape(self.key.target, scrape);
    }

    /// Releases a target that is gone from discovery and whose series have ended.
    pub fn end(self) {
        self.ownership.record_end(self.key.target);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.ownership.release(&self.key, self.request.id);
    }
}
