//! Messages of the handover protocol.

use std::collections::{BTreeMap, HashMap, HashSet};

use mesh_outbox::OldestPending;

use super::{
    gossip::{PeerReport, Process, ShutdownPhase},
    hold_backs::Backlog,
};
use crate::ownership::ScrapeRecord;

/// Request for the state of targets, sent to every peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandoverRequest {
    /// Name of the sender among the members.
    pub(super) sender: String,
    /// Process of the sender.
    pub(super) process: Process,
    /// Shutdown phase of the sender; `None` while it scrapes.
    pub(super) shutdown: Option<ShutdownPhase>,
    /// Targets that the sender claims. This and the other lists are sorted, each target once.
    pub(super) claimed: Vec<u64>,
    /// Targets of other receivers of which the sender needs to know whether they are scraped.
    pub(super) watched: Vec<u64>,
    /// Targets whose batches the sender holds back.
    pub(super) held_back: Vec<u64>,
}

/// State of the requested targets at one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HandoverResponse {
    /// Process of the receiver.
    pub(super) process: Process,
    /// Shutdown phase of the receiver. Receivers that started later have missed its own
    /// announcement.
    pub(super) shutdown: Option<ShutdownPhase>,
    /// Targets that the receiver scrapes.
    pub(super) scraped: HashSet<u64>,
    /// Targets that the receiver claims as well.
    pub(super) claimed: HashSet<u64>,
    /// Targets that are gone from discovery and whose series the receiver has ended.
    pub(super) ended: HashSet<u64>,
    /// Time of the last scrape by target, in milliseconds since the Unix epoch.
    pub(super) last_scrape_ms: BTreeMap<u64, i64>,
    /// Targets that answered the last scrape.
    pub(super) up: HashSet<u64>,
    /// Times of the oldest batches in the outbox, by target.
    pub(super) oldest_pending: HashMap<u64, OldestPending>,
    /// Reports about other receivers, the requesting one among them.
    pub(super) peers: BTreeMap<String, PeerReport>,
}

/// Responses by peer; `None` for a peer that has not answered.
pub(super) type Responses = BTreeMap<String, Option<HandoverResponse>>;

// === impl HandoverResponse ===

impl HandoverResponse {
    /// Returns true if the receiver scrapes, claims or has ended a target.
    pub(super) fn mentions(&self, target: u64) -> bool {
        let sets = [&self.scraped, &self.claimed, &self.ended];
        sets.iter().any(|set| set.contains(&target))
    }

    /// Last scrape of a target, if the receiver knows it.
    pub(super) fn last_scrape(&self, target: u64) -> Option<ScrapeRecord> {
        let time_ms = *self.last_scrape_ms.get(&target)?;
        let is_up = self.up.contains(&target);
        Some(ScrapeRecord { time_ms, is_up })
    }

    /// Backlog of a target in the outbox of the receiver.
    pub(super) fn backlog(&self, target: u64) -> Backlog {
        match self.oldest_pending.get(&target) {
            None => Backlog::Empty,
            Some(oldest) => Backlog::Since(oldest.clone()),
        }
    }
}
