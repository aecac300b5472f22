//! The outbox: a bounded queue of batches that have no verdict yet.
//!
//! A sample stays here until an exporter returns a verdict on it. The batches of a key, which
//! is the hash of a target or a client, wait in a lane: a FIFO of which at most the first
//! batch is in flight. So retries never reorder the batches of a key, and keys do not wait for
//! each other. A request has the first batches of many lanes.
//!
//! ```text
//! push ─▶ lane of key 7 ▮▮▮ ─┐
//!      ─▶ lane of key 9 ▮   ─┴▶ dispatcher ─▶ Service<Export> ─▶ outcomes ─▶ account
//! ```
//!
//! - **Destinations**: if the exporters write to several destinations, each of them has its
//!   own lanes, so that a destination that is down delays no other.
//! - **Limits**: the outbox is bounded in bytes and in age. A full outbox drops the oldest
//!   batches. A scraper calls [`Outbox::has_room`] before it scrapes more.
//! - **Hold-back**: the batches of a key can be held back while older ones are pending in
//!   the outbox of another process.
//! - **Spilling**: a batch that is pending for some seconds is compressed. With a spill
//!   directory it is also written to disk, and the next process replays it.
//! - **Withdrawal**: the outbox drops a batch when its last [`Waiter`] is dropped, unless
//!   an Export of it is in flight. Its client may have sent it elsewhere.
//! - **Account**: each pushed sample is counted by its outcome at all times (law 10).
//!
//! ```
//! use mesh_base::clock::Clock;
//! use mesh_contract::{
//!     batch::Batch,
//!     export::{Export, ExportError},
//!     report::ExportResponse,
//!     verdict::Verdict,
//! };
//! use mesh_outbox::{Outbox, OutboxArgs, Outcome};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let exporter = tower::service_fn(|_: Export| async {
//!     Ok::<_, ExportError>(ExportResponse::default())
//! });
//! let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::system(), exporter);
//! let batch = Batch {
//!     key: 7,
//!     payload: "…".into(),
//!     samples: 10,
//!     time_ms: Clock::system().now_ms(),
//!     context: Default::default(),
//! };
//! let outcome = outbox.push_with_outcome(batch).unwrap();
//! assert_eq!(outcome.await, Ok(Outcome::Verdict(Verdict::default())));
//! let account = workers.drain(tokio::time::Instant::now()).await;
//! assert_eq!(account.stored, 10);
//! # }
//! ```

mod account;
mod args;
mod delay;
mod dispatcher;
mod entry;
mod flight;
mod hold_backs;
mod lane;
mod lanes;
mod oldest_pending;
mod outcome;
mod packed;
mod rate;
mod request;
mod route;
mod spill;
mod spiller;
mod waiters;
mod weight;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tower::Service;
use tracing::warn;

use mesh_base::clock::Clock;
use mesh_contract::{
    batch::Batch,
    export::{Export, ExportError},
    report::ExportResponse,
};

pub use account::{Account, AccountCollector};
pub use args::OutboxArgs;
pub use hold_backs::HeldBackTotals;
pub use oldest_pending::OldestPending;
pub use outcome::{Expiry, OutboxClosed, Outcome};
pub use spill::SpillArgs;
pub use waiters::{Waiter, Waiters};

use account::AccountSource;
use dispatcher::Dispatcher;
use lanes::Lanes;
use spiller::Spiller;
use waiters::Withdraw;

/// A bounded queue of batches that have no verdict yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    lanes: Arc<Lanes>,
}

/// The tasks that deliver and spill the batches of an outbox. Dropping this aborts them.
#[derive(Debug)]
pub struct Workers {
    lanes: Arc<Lanes>,
    dispatcher: AbortOnDropHandle<()>,
    spiller: AbortOnDropHandle<()>,
}

/// Maximum time that a stopping service spends on spilling its pending batches.
const SPILL_TIMEOUT: Duration = Duration::from_secs(15);

// === impl Outbox ===

impl Outbox {
    /// Creates an outbox that sends through `exports`, and starts its workers.
    pub fn new<S>(args: &OutboxArgs, clock: Clock, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        Self::start(Lanes::new(args, clock), args, exports)
    }

    /// Creates an outbox like [`Self::new`] whose keys may have batches in other processes.
    /// All batches of an earlier process are held back. The caller takes their keys from
    /// [`Self::take_replayed`] and calls [`Self::release`] for each.
    pub fn sharing_keys<S>(args: &OutboxArgs, clock: Clock, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        Self::start(Lanes::sharing_keys(args, clock), args, exports)
    }

    fn start<S>(lanes: Lanes, args: &OutboxArgs, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        let lanes = Arc::new(lanes);
        let dispatcher = Dispatcher::new(lanes.clone(), exports);
        let dispatcher = AbortOnDropHandle::new(tokio::spawn(dispatcher.run()));
        let spiller = Spiller::new(&args.spill, lanes.clone());
        let spiller = AbortOnDropHandle::new(tokio::spawn(spiller.run()));
        let outbox = Self {
            lanes: lanes.clone(),
        };
        let workers = Workers {
            lanes,
            dispatcher,
            spiller,
        };
        (outbox, workers)
    }

    /// Pushes a batch. A full outbox drops its oldest batches.
    ///
    /// # Errors
    /// Returns an error if the outbox is closed. The account does not count the batch.
    pub fn push(&self, batch: Batch) -> Result<(), OutboxClosed> {
        self.lanes.push(batch, None, None)
    }

    /// Pushes a batch and returns its outcome. It shares a request with other batches only if
    /// the exporters give each batch an outcome of its own.
    ///
    /// # Errors
    /// Returns an error if the outbox is closed.
    pub fn push_with_outcome(
        &self,
        batch: Batch,
    ) -> Result<oneshot::Receiver<Outcome>, OutboxClosed> {
        let (sender, outcome) = oneshot::channel();
        self.lanes.push(batch, Some(sender), None)?;
        Ok(outcome)
    }

    /// Pushes a batch like [`Self::push_with_outcome`], with a waiter. When the last
    /// waiter is dropped, the batch is withdrawn. If an Export of it is in flight, the
    /// Export finishes and is not retried.
    ///
    /// # Errors
    /// Returns an error if the outbox is closed.
    pub fn push_with_waiter(
        &self,
        batch: Batch,
    ) -> Result<(oneshot::Receiver<Outcome>, Waiter), OutboxClosed> {
        let waiter = self.waiter(batch.key);
        let outcome = self.push_for(batch, &waiter)?;
        Ok((outcome, waiter))
    }

    /// Creates a waiter for batches of `key`, which [`Self::push_for`] pushes.
    pub fn waiter(&self, key: u64) -> Waiter {
        let queue: Weak<dyn Withdraw> = Arc::<Lanes>::downgrade(&self.lanes);
        Waiters::new(queue, key).add()
    }

    /// Pushes a batch like [`Self::push_with_waiter`], for an existing waiter of its key.
    /// All batches of a waiter are withdrawn together, however many they are.
    ///
    /// # Errors
    /// Returns an error if the outbox is closed.
    pub fn push_for(
        &self,
        batch: Batch,
        waiter: &Waiter,
    ) -> Result<oneshot::Receiver<Outcome>, OutboxClosed> {
        let (sender, outcome) = oneshot::channel();
        self.lanes
            .push(batch, Some(sender), Some(waiter.waiters()))?;
        Ok(outcome)
    }

    /// Returns true if `bytes` more fit without dropping an older batch.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.lanes.has_room(bytes)
    }

    /// Holds back the batches of a key that are later than the time of `after` for their
    /// destination, until [`Self::release`]. Held-back batches count as pending and expire
    /// like others. A drain waits for them.
    pub fn hold_back(&self, key: u64, after: OldestPending) {
        self.lanes.hold_back(key, after);
    }

    /// Releases the batches of a key that are held back.
    pub fn release(&self, key: u64) {
        self.lanes.release(key);
    }

    /// Takes the keys of the replayed batches that are held back, each with the time of its
    /// oldest batch in milliseconds since the Unix epoch. Returns `None` until the disk has
    /// been read, and after the first call that returned keys.
    pub fn take_replayed(&self) -> Option<HashMap<u64, i64>> {
        self.lanes.take_replayed()
    }

    /// Counts the batches that are held back.
    pub fn held_back(&self) -> HeldBackTotals {
        self.lanes.held_back()
    }

    /// Returns the times of the oldest pending batches of each key. Held-back batches and
    /// batches in flight are pending too. Returns `None` until the batches of an earlier
    /// process have been read from disk.
    pub fn oldest_pending(&self, keys: &HashSet<u64>) -> Option<HashMap<u64, OldestPending>> {
        self.lanes.oldest_pending(keys)
    }

    /// Returns the longest current timeout of any lane's Export.
    pub fn longest_export_timeout(&self) -> Duration {
        self.lanes.longest_export_timeout()
    }

    /// Returns true if there is a spill directory.
    pub fn has_spill_directory(&self) -> bool {
        self.lanes.has_spill_directory()
    }

    /// Returns true if batches are on disk, or may be within `ahead`. A process that
    /// starts after this one was killed would replay them.
    pub fn may_have_spilled(&self, ahead: Duration) -> bool {
        self.lanes.may_have_spilled(ahead)
    }

    /// Returns the account at this moment.
    pub fn account(&self) -> Account {
        self.lanes.account()
    }

    /// Returns the account of each destination, once exporters have named several.
    pub fn destinations(&self) -> BTreeMap<String, Account> {
        self.lanes.destinations()
    }

    /// Returns a collector that exports the account as metrics.
    pub fn collector(&self) -> AccountCollector {
        AccountCollector::new(self.lanes.clone())
    }
}

// === impl Workers ===

impl Workers {
    /// Closes the outbox, delivers pending batches until `deadline`, spills the rest if
    /// there is a spill directory, and returns the final account.
    pub async fn drain(mut self, deadline: Instant) -> Account {
        self.lanes.close();
        if timeout_at(deadline, &mut self.dispatcher).await.is_err() {
            self.dispatcher.abort();
            let _ = (&mut self.dispatcher).await;
        }
        self.lanes.stop_delivery();
        if timeout(SPILL_TIMEOUT, &mut self.spiller).await.is_err() {
            warn!(timeout = ?SPILL_TIMEOUT, "Stopped before all pending batches were spilled");
        }
        self.lanes.account()
    }
}

#[cfg(test)]
mod tests;
