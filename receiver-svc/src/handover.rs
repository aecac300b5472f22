//! The handover of targets between the receivers of a replica group (laws 1 and 2).
//!
//! An [`Assignment`] says whose a target is, and each receiver follows that with news
//! of its own age. So whoever scrapes a target goes on until another claims it, and
//! whoever finds a target to be its own *claims* it: it asks all others whether they
//! still scrape it, and what they still have of it in their outboxes.
//!
//! ```text
//! claimed ── nobody scrapes it ─▶ scraped, held back ── nothing older waits ─▶ scraped
//!    ▲ │                            batches wait in the outbox
//!    └─┘ somebody does
//! ```
//!
//! Asked are all members, those that have left until they are found gone, those of the
//! group that were not ready as this receiver began, and whoever they know besides. One
//! that does not answer is presumed to scrape for [`GRACE`], and to have Exports under way
//! for a flag's time; where it has said that it has batches on its disk, or is among the
//! members still and may be cut off, it is given another flag's time to be back. Of two
//! that claim one target at once the first by name goes first. The times of batches decide
//! who waits for whom, so that receivers never wait for each other in a circle.

mod answer;
mod ask;
mod claims;
mod holds;
mod metrics;
mod news;
mod peers;
mod state;
mod wards;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use mesh::{
    balance::Connector, clock::Clock, config::http::HttpClientConfig, endpoints::Addresses,
    http_client::HttpClient, outbox::Outbox,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::timeout,
};

pub use self::{ask::Asker, claims::Seen, metrics::HandoverMetrics, state::Standing};
use self::{
    claims::{Grant, Name},
    news::Parting,
    peers::Patience,
    state::State,
};
use crate::shard::{Assignment, Shards};

/// How long a receiver that does not answer is presumed to scrape what it has scraped.
pub const GRACE: Duration = Duration::from_secs(3);

/// What a receiver needs to take targets over from others.
#[derive(Debug)]
pub struct Options {
    /// What it is called among the members.
    pub name: String,
    /// The members are those that were found ready a moment ago; a fixed list names those
    /// that are gone too.
    pub members_are_ready: bool,
    /// Those of the group that are not, where they are known; no later than the members.
    pub unready: Addresses,
    /// How long batches are held back for a receiver that does not answer.
    pub timeout: Duration,
    /// How long for one that may be cut off, or back with what is on its disk.
    pub away_timeout: Duration,
    /// How others are reached; by TCP where nothing is given.
    pub connector: Option<Connector>,
}

/// Claims targets and answers the claims of others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handover {
    shared: Arc<Shared>,
}

/// A target that is to be scraped here; given up when it is dropped.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    name: Name,
    id: u64,
    granted: oneshot::Receiver<Grant>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to ask.
    wake: Notify,
    /// The others know that nothing waits here.
    told: Notify,
    standing: watch::Sender<Standing>,
    clock: Clock,
    outbox: Outbox,
    metrics: HandoverMetrics,
}

// === impl Handover ===

impl Handover {
    /// The handover of a receiver, and what asks the others.
    pub fn new(
        options: Options,
        clock: Clock,
        outbox: Outbox,
        metrics: HandoverMetrics,
    ) -> (Self, Asker) {
        let http = HttpClientConfig {
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let client = HttpClient::with_connector(&http, options.connector);
        let client = client.expect("a client without TLS files can be made");
        let patience = Patience {
            timeout: options.timeout,
            away: options.away_timeout,
            are_ready: options.members_are_ready,
            spills: outbox.spills(),
        };
        let state = State::new(options.name, patience, options.unready);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Notify::new(),
            told: Notify::new(),
            standing: watch::Sender::default(),
            clock,
            outbox,
            metrics,
        });
        let asker = Asker::new(shared.clone(), client);
        (Self { shared }, asker)
    }

    /// Takes up who the other members are now.
    pub fn follow<'a>(&self, others: impl IntoIterator<Item = &'a Arc<str>>) {
        let others: BTreeSet<String> = others.into_iter().map(|name| name.to_string()).collect();
        self.shared.change(|state| state.follow(&others));
        self.shared.wake.notify_one();
    }

    /// Takes up who the members are, for ever: one that drains asks those that come, so
    /// that they hear of it.
    pub async fn follow_all(&self, mut shards: Shards) -> Infallible {
        while shards.changed().await.is_ok() {
            if let Some(shard) = shards.borrow_and_update().clone() {
                self.follow(shard.others());
            }
        }
        std::future::pending().await
    }

    /// Takes up whose the targets are. Those that are scraped here are kept until
    /// another claims them, and looked after are those that this receiver guards.
    pub fn assign(&self, assignment: Arc<Assignment>) {
        self.shared.change(|state| state.assign(assignment));
        self.shared.wake.notify_one();
    }

    /// What others have said that bears on what is scraped here, whenever it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Claims the target with this identity for a job. Where there are no others it
    /// is granted at once.
    pub fn claim(&self, target: u64, job: &str) -> Claim {
        let name = (target, job.into());
        let now_ms = self.shared.clock.now_ms();
        let (id, granted) = self.shared.state().claims.claim(&name, now_ms);
        self.shared.changed();
        Claim {
            shared: self.shared.clone(),
            name,
            id,
            granted,
        }
    }

    /// Scrapes and claims nothing any more, and tells the others. What is held back
    /// stays so until it is settled.
    pub fn stop(&self) {
        self.shared.change(|state| state.part(Parting::Stopped));
        self.shared.wake.notify_one();
    }

    /// Tells the others, as long as they take a second at most, that nothing of this
    /// receiver waits any more: they need not look for it.
    pub async fn drained(&self) {
        self.shared.change(|state| state.part(Parting::Drained));
        self.shared.wake.notify_one();
        // Those that were not reached find out.
        let _ = timeout(peers::ANSWER_TIME, self.shared.told.notified()).await;
    }

    /// `POST /-/handover`, which others ask.
    pub fn router(&self) -> Router {
        answer::router(self.shared.clone())
    }
}

// === impl Claim ===

impl Claim {
    /// Waits until nobody else scrapes the target. Returns its last scrape where a
    /// receiver tells; for ever pending where this receiver stops.
    pub async fn granted(&mut self) -> Option<Seen> {
        match (&mut self.granted).await {
            Ok(grant) => grant.last,
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives up a target that is gone from discovery, and whose series have ended.
    pub fn ended(self) {
        self.shared.state().claims.ended(self.name.0);
    }

    /// Notes a scrape whose samples are in the outbox.
    pub fn scraped(&self, last: Seen) {
        self.shared.state().claims.scraped(self.name.0, last);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.state().claims.give_up(&self.name, self.id);
        self.shared.changed();
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells what follows of it for what is scraped here.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let standing = state.standing();
        self.standing.send_if_modified(|before| {
            let is_new = *before != standing;
            *before = standing;
            is_new
        });
        self.metrics.show(&state);
        changed
    }

    /// Takes up what an earlier process has left, once it is known who the others are:
    /// it may have been held back, and older batches wait elsewhere.
    fn adopt(&self) {
        let mut state = self.state();
        if state.is_following
            && let Some(left) = self.outbox.take_left()
        {
            state.hold_all(left);
        }
    }

    /// After claims have changed: grants those that nobody needs to be asked about.
    fn changed(&self) {
        self.change(State::grant_alone);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
