//! Handover of targets between the receivers of a replica group (laws 1 and 2).
//!
//! The [`Assignment`] gives each target an owner. Receivers learn about changes of the
//! assignment at different times. Two rules keep a target from being scraped twice or not at
//! all:
//!
//! - A receiver that scrapes a target goes on until another receiver claims the target.
//! - A receiver that finds itself the owner of a target *claims* it. It asks all peers whether
//!   they still scrape the target, and which of its batches are still in their outboxes.
//!
//! ```text
//! claimed ── nobody scrapes it ─▶ scraped, held back ── no older batches ─▶ scraped
//!    ▲ │                          batches wait in the outbox
//!    └─┘ somebody scrapes it
//! ```
//!
//! The peers are all members, receivers that have left and may still have batches, receivers of
//! the group that were not ready when this one started, and every receiver that those report.
//!
//! Peers talk over gRPC (`promesh.handover.v1`). [`Access`] says who may call. Without
//! authentication, a receiver calls only peers that discovery lists, or has listed within the away
//! timeout. Other peers count as silent. A peer that is known from hearsay only counts for the away
//! timeout after this receiver heard of it first.
//!
//! - A peer that does not answer is presumed to scrape for [`GRACE`], and to have exports in
//!   flight for [`Options::timeout`].
//! - A peer that has reported batches on its disk gets [`Options::away_timeout`] to return. So
//!   does a silent peer that is still a member, since it may be partitioned.
//! - If two receivers claim one target at the same time, the first by name has precedence.
//! - The times of batches decide which receiver waits for which. Therefore receivers never wait
//!   for each other in a circle.
//!
//! ```text
//! handover ─▶ server, poller ─▶ shared ─▶ state ─▶ foreign ─▶ claims, peers, protocol
//!               │      └─▶ client ─▶ wire               listing ◀─┘
//!               └─▶ access
//! ```

mod access;
mod claims;
mod client;
mod foreign;
mod gossip;
mod hold_backs;
mod listing;
mod metrics;
mod peers;
mod poller;
mod protocol;
mod server;
mod shared;
mod state;
mod wire;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use mesh_base::clock::Clock;
use mesh_net::{connector::Connector, endpoints::Addresses};
use mesh_outbox::Outbox;
use tokio::{sync::watch, time::timeout};

pub use self::{
    access::Access, metrics::HandoverMetrics, peers::GRACE, poller::Poller, server::HandoverServer,
};
use self::{
    client::Client,
    gossip::ShutdownPhase,
    peers::{RESPONSE_TIMEOUT, WaitPolicy},
    shared::Shared,
    state::State,
};
use crate::{
    ownership::{ClaimKey, Overrides, Ownership, Request, ScrapeRecord},
    shard::{Assignment, Shards},
};

/// Settings of the handover.
#[derive(Debug)]
pub struct Options {
    /// Name of this receiver among the members.
    pub name: String,
    /// `true` if the members are those that were found ready a moment ago. A fixed list also
    /// names members that are gone.
    pub members_are_ready: bool,
    /// Receivers of the group that are not ready, if the platform lists them. Must not lag
    /// behind the members.
    pub unready: Addresses,
    /// Time for which batches are held back for a receiver that does not answer.
    pub timeout: Duration,
    /// Time for which batches are held back for a receiver that may be partitioned, or that may
    /// return with batches on its disk.
    pub away_timeout: Duration,
    /// Connector to peers.
    pub connector: Connector,
    /// Authentication of peers, and towards them.
    pub access: Access,
}

/// Handle of the handover protocol: claims targets and answers the claims of peers. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Handover {
    shared: Arc<Shared>,
    access: Access,
}

// === impl Handover ===

impl Handover {
    /// Creates the handover of a receiver, and the task that polls the peers.
    pub fn new(
        options: Options,
        clock: Clock,
        outbox: Outbox,
        metrics: HandoverMetrics,
    ) -> (Self, Poller) {
        let client = Client::new(options.connector, options.access.tokens.clone());
        let policy = WaitPolicy {
            export_timeout: options.timeout,
            away_timeout: options.away_timeout,
            members_are_ready: options.members_are_ready,
            spills: outbox.has_spill_directory(),
            authenticated: options.access.authenticates(),
        };
        let state = State::new(options.name, policy, options.unready);
        let shared = Arc::new(Shared::new(state, clock, outbox, metrics));
        let poller = Poller::new(shared.clone(), client);
        let access = options.access;
        (Self { shared, access }, poller)
    }

    /// Follows the members of the group. Never completes.
    ///
    /// A draining receiver polls the members that join, so that they learn about its backlog.
    pub async fn follow_members(&self, mut shards: Shards) -> Infallible {
        while shards.changed().await.is_ok() {
            if let Some(shard) = shards.borrow_and_update().clone() {
                let others = shard.others().map(|name| name.to_string());
                self.set_members(others.collect());
            }
        }
        std::future::pending().await
    }

    /// Stops scraping and claiming, and announces that to the peers. Batches that are held back
    /// stay so until no peer has older ones.
    pub fn stop(&self) {
        self.announce(ShutdownPhase::Stopped);
    }

    /// Announces to the peers that the outbox is empty, so that they need not wait for this
    /// receiver. Takes at most one second.
    pub async fn announce_drained(&self) {
        self.announce(ShutdownPhase::Drained);
        // A peer that was not reached learns it from the others.
        let _ = timeout(RESPONSE_TIMEOUT, self.shared.drain_announced.notified()).await;
    }

    /// Creates the gRPC service for peers.
    pub fn server(&self) -> HandoverServer {
        HandoverServer::new(self.shared.clone(), self.access.clone())
    }

    fn announce(&self, phase: ShutdownPhase) {
        self.shared.update_and_wake(|state| state.shut_down(phase));
    }
}

impl Ownership for Handover {
    fn set_members(&self, others: BTreeSet<String>) {
        self.shared
            .update_and_wake(|state| state.set_members(&others));
    }

    fn set_assignment(&self, assignment: Arc<Assignment>) {
        self.shared
            .update_and_wake(|state| state.set_assignment(assignment));
    }

    fn overrides(&self) -> watch::Receiver<Overrides> {
        self.shared.overrides.subscribe()
    }

    /// Requests a target. Grants it at once if there are no peers.
    fn request(&self, key: &ClaimKey) -> Request {
        let now_ms = self.shared.clock.now_ms();
        let request = self.shared.lock().claims.request(key, now_ms);
        self.shared.claims_changed();
        request
    }

    fn release(&self, key: &ClaimKey, id: u64) {
        self.shared.lock().claims.release(key, id);
        self.shared.claims_changed();
    }

    fn record_scrape(&self, target: u64, scrape: ScrapeRecord) {
        self.shared.lock().claims.record_scrape(target, scrape);
    }

    fn record_end(&self, target: u64) {
        self.shared.lock().claims.record_end(target);
    }
}

#[cfg(test)]
mod tests;
