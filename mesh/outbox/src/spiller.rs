//! The spiller: what waits for long is compressed, and spilled where there is a
//! directory.
//!
//! It is the one that writes the log: spilled batches as they become due, the
//! numbers of those that are done with as lanes settle them.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{
    entry::Body,
    lanes::Lanes,
    spill::{Directory, Disk, Limits, Log, Place, Record, Replay, SpillArgs, Trouble},
    worker::MAX_DEADLINE,
};
use mesh_base::blocking::{self, BLOCKING_BYTES};

/// Compresses and spills what waits.
pub(super) struct Spiller {
    lanes: Arc<Lanes>,
    dir: Option<PathBuf>,
    limits: Limits,
    after: Duration,
    log: Option<Log>,
    /// Nothing is written before: the disk was full.
    not_before: Instant,
    /// Until when Exports of processes before may be under way.
    fence_ms: i64,
}

/// What became of a batch that was due.
struct Kept {
    lane: usize,
    seq: u64,
    body: Body,
    /// Nothing more is to be done.
    is_kept: bool,
}

/// When there may be more to do.
enum More {
    AtOnce,
    Later,
}

/// How often it looks for what is due, and how much it takes at once.
const TICK: Duration = Duration::from_millis(500);
const CHUNK_BYTES: usize = 16 << 20;
/// How long a predecessor may take to let go of the directory.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it leaves a disk alone that took no more.
const PAUSE: Duration = Duration::from_secs(5);
/// How far the fence is ahead of what it covers: until it is written again, after the
/// next tick, or once a disk that may be slow has been written to. A successor waits for
/// that much longer than it has to.
const TICK_SLACK: Duration = Duration::from_secs(1);
const WRITING_SLACK: Duration = Duration::from_secs(2);

// === impl Spiller ===

impl Spiller {
    pub(super) fn new(args: &SpillArgs, lanes: Arc<Lanes>) -> Self {
        Self {
            lanes,
            dir: args.spill_dir.clone(),
            limits: args.limits(),
            after: args.after(),
            log: None,
            not_before: Instant::now(),
            fence_ms: i64::MIN,
        }
    }

    pub(super) async fn run(mut self) {
        self.open().await;
        loop {
            let is_last = self.lanes.is_abandoned();
            if is_last {
                self.not_before = Instant::now();
            }
            match self.keep().await {
                More::AtOnce => {}
                More::Later if is_last => return,
                More::Later => {
                    let _ = timeout(TICK, self.lanes.keeper_called()).await;
                }
            }
        }
    }

    /// Opens the log and hands over what an earlier process has left. Where it
    /// cannot be opened batches wait in memory: no reason not to start.
    async fn open(&mut self) {
        let Some(dir) = self.dir.take() else {
            return;
        };
        let Some(disk) = self.take(dir).await else {
            return self.lanes.replay(Replay::default(), Instant::now());
        };
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let _ = self.lanes.disk.set(disk.clone());
        let (limits, stats) = (self.limits, self.lanes.stats.clone());
        let (log, replay) = blocking::run(move || Log::open(disk, limits, stats)).await;
        self.log = Some(log);
        let fence = self.fence_of(&replay);
        self.fence_ms = self.lanes.clock.now_ms() + fence.as_millis() as i64;
        if !replay.records.is_empty() {
            let batches = replay.records.len();
            info!(batches, wait = ?fence, "Spilled batches taken up");
        }
        self.lanes.replay(replay, Instant::now() + fence);
    }

    /// Takes the directory, for which a predecessor has a moment to let it go.
    async fn take(&self, dir: PathBuf) -> Option<Directory> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let path = dir.clone();
            let error = match blocking::run(move || Directory::open(path)).await {
                Ok(directory) => return Some(directory),
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > give_up {
                self.lanes.stats.count(Trouble::Open);
                let dir = dir.display();
                warn!(%dir, %error, "Spill directory not usable, batches wait in memory");
                return None;
            }
            sleep(TICK).await;
        }
    }

    /// How long Exports of the process before may still be under way (law 3).
    fn fence_of(&self, replay: &Replay) -> Duration {
        let now_ms = self.lanes.clock.now_ms();
        let left_ms = replay.fence_ms.map_or(0, |until_ms| until_ms - now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        // A clock that was set back must not hold the lanes for ever.
        left.min(MAX_DEADLINE + WRITING_SLACK)
    }

    /// Notes what is done with and keeps what is due.
    async fn keep(&mut self) -> More {
        let done = self.lanes.take_done();
        let due = match Instant::now() < self.not_before {
            true => Vec::new(),
            false => self.lanes.due(self.after, CHUNK_BYTES),
        };
        if done.is_empty() && due.is_empty() {
            self.fence();
            return More::Later;
        }
        let mut more = match due.is_empty() {
            true => More::Later,
            false => More::AtOnce,
        };
        let fence_ms = self.until_ms(WRITING_SLACK);
        let log = self.log.take();
        let noted = done.clone();
        let bytes = due.iter().map(|(_, record)| record.payload.bytes().len());
        let (log, kept) = match log.is_none() && bytes.sum::<usize>() < BLOCKING_BYTES {
            // A little is compressed sooner than it is handed to a thread that may block.
            true => write(None, fence_ms, &done, due),
            false => blocking::run(move || write(log, fence_ms, &done, due)).await,
        };
        self.log = log;
        self.fence();
        self.lanes.noted(&noted);
        if kept.iter().any(|kept| !kept.is_kept) {
            self.not_before = Instant::now() + PAUSE;
            more = More::Later;
        }
        for Kept {
            lane,
            seq,
            body,
            is_kept,
        } in kept
        {
            self.lanes.keep(lane, seq, body, is_kept);
        }
        more
    }

    fn fence(&self) {
        if let Some(log) = self.log.as_ref().filter(|log| !log.is_empty()) {
            log.fence(self.until_ms(TICK_SLACK));
        }
    }

    /// Until when Exports may be under way that begin within `slack`.
    fn until_ms(&self, slack: Duration) -> i64 {
        let span = self.lanes.longest_span() + slack;
        let own_ms = self.lanes.clock.now_ms() + span.as_millis() as i64;
        own_ms.max(self.fence_ms)
    }
}

/// Writes what is done with and what is due. A batch leaves the memory only where
/// the disk has confirmed it.
fn write(
    log: Option<Log>,
    fence_ms: i64,
    done: &[(u64, Place)],
    due: Vec<(usize, Record)>,
) -> (Option<Log>, Vec<Kept>) {
    let Some(mut log) = log else {
        let packed = due.into_iter().map(|(lane, record)| Kept {
            lane,
            seq: record.seq,
            body: Body::InMemory(record.payload.pack()),
            is_kept: true,
        });
        return (None, packed.collect());
    };
    if !due.is_empty() || !log.is_empty() {
        log.fence(fence_ms);
    }
    log.settle(done);
    let mut kept = Vec::with_capacity(due.len());
    let mut places = Vec::with_capacity(due.len());
    let mut is_full = false;
    for (lane, mut record) in due {
        record.payload = record.payload.pack();
        let place = match is_full {
            true => None,
            false => log.append(&record).ok(),
        };
        // Behind a batch that was not written none of its lane may be.
        is_full = place.is_none();
        places.push(place);
        kept.push(Kept {
            lane,
            seq: record.seq,
            body: Body::InMemory(record.payload),
            is_kept: log.is_poisoned(),
        });
    }
    let is_safe = log.sync().is_ok();
    for (kept, place) in kept.iter_mut().zip(places) {
        match place.filter(|_| is_safe) {
            Some(place) => (kept.body, kept.is_kept) = (Body::OnDisk(place), true),
            None => kept.is_kept = log.is_poisoned(),
        }
    }
    (Some(log), kept)
}
