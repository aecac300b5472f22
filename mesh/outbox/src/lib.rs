//! The outbox: what has been acquired and not yet been judged by the backend.
//!
//! A sample stays here until an exporter's verdict says what became of it. Batches
//! wait in lanes: a target always hashes to the same lane, a lane is a FIFO with
//! at most one request in flight, and a request carries at most one batch of a
//! target. So no target's batches can overtake each other, whatever is retried.
//!
//! ```text
//! push ─▶ lane 0 ▮▮▮ ─▶ worker ─▶ Service<Export> ─▶ verdict ─▶ account
//!      ─▶ lane 1 ▮   ─▶ worker ─▶        …
//! ```
//!
//! The outbox is bounded in bytes and in age. Where the bytes do not suffice the
//! oldest batches go first; a scraper asks [`Outbox::has_room`] before it acquires
//! more. Batches of a key can be held back while older ones of it wait in the outbox
//! of another process; their lane steps over them. A batch that waits for some seconds
//! is compressed, and where there is a directory for it written there (`spill`), so
//! that it survives the process. A batch whose sender keeps it until it is answered is
//! withdrawn where the sender has left, as it may come again by another way; what is
//! under way then stays. The account of all samples balances at all times (law 10).

mod account;
mod entry;
mod holds;
mod interest;
mod lane;
mod lanes;
mod packed;
mod request;
mod spill;
mod spiller;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tower::Service;
use tracing::warn;

use mesh_base::clock::Clock;
use mesh_contract::{
    batch::Batch,
    export::{Export, ExportError},
    verdict::Verdict,
};

pub use account::{Account, AccountCollector, Expiry};
pub use holds::HeldBack;
pub use interest::{Interest, Waiter};
pub use spill::SpillArgs;

use lanes::Lanes;
use spiller::Spiller;

/// The outbox' limits, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboxArgs {
    /// Number of lanes: how many requests may be in flight at once.
    #[arg(
        long = "outbox.lanes",
        env = "PROMESH_OUTBOX_LANES",
        default_value_t = 32
    )]
    pub lanes: u16,

    /// Bytes of batches that may wait in memory; the oldest expire first.
    #[arg(long = "outbox.max-bytes", env = "PROMESH_OUTBOX_MAX_BYTES", default_value_t = 512 << 20)]
    pub max_bytes: usize,

    /// Seconds a batch may wait. AMP refuses samples older than an hour.
    #[arg(long = "outbox.max-age", env = "PROMESH_OUTBOX_MAX_AGE", default_value_t = 55 * 60)]
    pub max_age_seconds: u64,

    /// Bytes of one request to an exporter; a batch that is larger goes alone.
    #[arg(long = "outbox.max-request-bytes", env = "PROMESH_OUTBOX_MAX_REQUEST_BYTES", default_value_t = 4 << 20)]
    pub max_request_bytes: usize,

    /// Milliseconds between two requests of a lane at least while it has little to
    /// send: what comes meanwhile joins the next one. A batch that somebody waits for,
    /// and what comes to 256 KiB, goes at once.
    #[arg(
        long = "outbox.linger-ms",
        env = "PROMESH_OUTBOX_LINGER_MS",
        default_value_t = 250
    )]
    pub linger_ms: u64,

    /// Seconds an exporter has for one request. Doubled, up to 60, for a lane whose
    /// requests take longer while the backend does answer; a backend that answers
    /// nothing is asked again after as long as this.
    #[arg(
        long = "outbox.deadline",
        env = "PROMESH_OUTBOX_DEADLINE",
        default_value_t = 8
    )]
    pub deadline_seconds: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub spill: SpillArgs,
}

/// How long a stopping service may write what it could not deliver.
const SPILL_TIME: Duration = Duration::from_secs(15);

/// Holds batches until the backend has spoken. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    lanes: Arc<Lanes>,
}

/// The tasks that empty an outbox; they end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    lanes: Arc<Lanes>,
    tasks: JoinSet<()>,
    spiller: JoinHandle<()>,
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend has spoken.
    Judged(Verdict),
    /// It was never judged.
    Expired(Expiry),
}

/// The outbox takes nothing any more: the service is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is closed")]
pub struct Closed;

// === impl OutboxArgs ===

impl Default for OutboxArgs {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: OutboxArgs,
        }
        <Only as clap::Parser>::parse_from([""]).args
    }
}

impl OutboxArgs {
    fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(
            self.deadline_seconds
                .clamp(1, worker::MAX_DEADLINE.as_secs()),
        )
    }
}

// === impl Outbox ===

impl Outbox {
    /// An outbox that sends through `exports`, and the workers that do so.
    pub fn new<S>(args: &OutboxArgs, clock: Clock, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = Verdict, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        Self::with(Lanes::new(args, clock), args, exports)
    }

    /// As [`Self::new`], where other processes may have batches of the same keys: what
    /// an earlier process has left is held back, whatever its time, until
    /// [`Self::take_replayed`] has told of it and it is let go.
    pub fn sharing_keys<S>(args: &OutboxArgs, clock: Clock, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = Verdict, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        Self::with(Lanes::sharing_keys(args, clock), args, exports)
    }

    fn with<S>(lanes: Lanes, args: &OutboxArgs, exports: S) -> (Self, Workers)
    where
        S: Service<Export, Response = Verdict, Error = ExportError> + Clone + Send + 'static,
        S::Future: Send,
    {
        let lanes = Arc::new(lanes);
        let mut tasks = JoinSet::new();
        for lane in 0..lanes.len() {
            let worker = worker::Worker::new(lane, lanes.clone(), exports.clone(), args.deadline());
            tasks.spawn(worker.run());
        }
        let spiller = Spiller::new(&args.spill, lanes.clone());
        let spiller = tokio::spawn(spiller.run());
        let outbox = Self {
            lanes: lanes.clone(),
        };
        let workers = Workers {
            lanes,
            tasks,
            spiller,
        };
        (outbox, workers)
    }

    /// Takes a batch. Where there is no room older ones expire.
    ///
    /// # Errors
    /// Where the outbox is closed; the batch is not accounted for then.
    pub fn push(&self, batch: Batch) -> Result<(), Closed> {
        self.lanes.push(batch, None, None)
    }

    /// Takes a batch and tells what becomes of it. Such a batch travels alone, so
    /// that the verdict is its own.
    ///
    /// # Errors
    /// Where the outbox is closed.
    pub fn push_with_outcome(&self, batch: Batch) -> Result<oneshot::Receiver<Outcome>, Closed> {
        let (tell, told) = oneshot::channel();
        self.lanes.push(batch, Some(tell), None)?;
        Ok(told)
    }

    /// As [`Self::push_with_outcome`], for somebody who has the batch until it is answered:
    /// once nobody waits any more it is withdrawn, unless an Export of it is under way,
    /// and no other begins.
    ///
    /// # Errors
    /// Where the outbox is closed.
    pub fn push_for(&self, batch: Batch) -> Result<(oneshot::Receiver<Outcome>, Waiter), Closed> {
        let (tell, told) = oneshot::channel();
        let interest = Interest::new(&self.lanes, self.lanes.lane_of(batch.key));
        let waiter = interest.wait();
        self.lanes.push(batch, Some(tell), Some(interest))?;
        Ok((told, waiter))
    }

    /// Whether `bytes` more fit without an older batch expiring.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.lanes.has_room(bytes)
    }

    /// Holds back the batches of a key whose time is later than `after_ms`, in
    /// milliseconds since the Unix epoch, until told otherwise: older ones wait
    /// somewhere else. They count as waiting, and expire as others do. An outbox that
    /// is drained waits for them.
    pub fn hold_back(&self, key: u64, after_ms: i64) {
        self.lanes.hold_back(key, after_ms);
    }

    /// Holds back nothing of this key any more.
    pub fn let_go(&self, key: u64) {
        self.lanes.let_go(key);
    }

    /// The keys of which an earlier process has left batches that are held back here, and
    /// the time of the oldest of each, in milliseconds since the Unix epoch; `None` while
    /// that is not known, and once it was told.
    pub fn take_replayed(&self) -> Option<HashMap<u64, i64>> {
        self.lanes.take_replayed()
    }

    /// How much is held back.
    pub fn held_back(&self) -> HeldBack {
        self.lanes.held_back()
    }

    /// The time of the oldest batch of each of these keys that waits, is held back or
    /// is in flight, in milliseconds since the Unix epoch. `None` while it is not
    /// known what an earlier process has left.
    pub fn oldest(&self, keys: &HashSet<u64>) -> Option<HashMap<u64, i64>> {
        self.lanes.oldest(keys)
    }

    /// How long an Export may be under way at present, at most: the longest deadline that
    /// a lane gives.
    pub fn longest_export(&self) -> Duration {
        self.lanes.longest_span()
    }

    /// Whether there is a directory for what waits.
    pub fn spills(&self) -> bool {
        self.lanes.spills()
    }

    /// Whether batches may come back from the disk once this process is killed: some are
    /// there, or will be within `ahead`.
    pub fn may_leave_some(&self, ahead: Duration) -> bool {
        self.lanes.may_leave_some(ahead)
    }

    /// What became of every sample so far.
    pub fn account(&self) -> Account {
        self.lanes.account()
    }

    /// The account as metrics.
    pub fn collector(&self) -> AccountCollector {
        AccountCollector::new(self.lanes.clone())
    }
}

// === impl Workers ===

impl Workers {
    /// Takes no more batches, delivers those that wait until `deadline`, spills
    /// the rest where there is a directory, and returns the final account.
    pub async fn drain(mut self, deadline: Instant) -> Account {
        self.lanes.close();
        let all_done = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all_done).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.lanes.abandon();
        if timeout(SPILL_TIME, &mut self.spiller).await.is_err() {
            warn!(timeout = ?SPILL_TIME, "Left before all that waited was spilled");
        }
        self.lanes.account()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.spiller.abort();
    }
}

#[cfg(test)]
mod tests;
