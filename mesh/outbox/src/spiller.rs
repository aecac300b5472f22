//! The spiller: compresses batches that have been pending for some time, and writes them to
//! disk.
//!
//! It is the only writer of the log. It appends batches when they become due, and records
//! spilled batches as done when they have left their lanes.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use mesh_base::blocking::{self, BLOCKING_BYTES};
use mesh_contract::writer;

use crate::{
    args::MAX_EXPORT_TIMEOUT,
    entry::Body,
    lanes::Lanes,
    request,
    spill::{
        self, Directory, Disk, Done, Limits, Log, Poison, Record, Replay, SpillArgs, SpillError,
    },
};

/// Compresses and spills pending batches.
pub(crate) struct Spiller {
    lanes: Arc<Lanes>,
    dir: Option<PathBuf>,
    limits: Limits,
    after: Duration,
    log: Option<Log>,
    /// Time until which no batch is written, since the disk was full.
    not_before: Instant,
    /// Time until which Exports of earlier processes may be in flight.
    fence_ms: i64,
}

/// Result of compressing or spilling one batch.
pub(crate) struct Processed {
    seq: u64,
    body: Body,
    /// Set if the batch needs no further attempt.
    is_final: bool,
}

/// Time of the spiller's next step.
enum NextStep {
    AtOnce,
    Later,
}

/// Interval between polls for batches that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum bytes of batches in one step.
const CHUNK_BYTES: usize = 16 << 20;
/// Maximum time to wait until an earlier process unlocks the directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay before a write is retried after the disk was full.
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Time added to the fence for Exports that begin before the next poll. The fence must
/// cover them; the next process waits that much longer than necessary.
const POLL_SLACK: Duration = Duration::from_secs(1);
/// Time added to the fence for Exports that begin during a write, which may be slow.
const WRITING_SLACK: Duration = Duration::from_secs(2);

// === impl Spiller ===

impl Spiller {
    pub(crate) fn new(args: &SpillArgs, lanes: Arc<Lanes>) -> Self {
        Self {
            lanes,
            dir: args.spill_dir.clone(),
            limits: args.limits(),
            after: args.spill_after,
            log: None,
            not_before: Instant::now(),
            fence_ms: i64::MIN,
        }
    }

    pub(crate) async fn run(mut self) {
        self.open().await;
        loop {
            let is_last = self.lanes.is_delivery_stopped();
            if is_last {
                self.not_before = Instant::now();
            }
            match self.step().await {
                NextStep::AtOnce => {}
                NextStep::Later if is_last => return,
                NextStep::Later => {
                    let _ = timeout(POLL_INTERVAL, self.lanes.wait_for_spill_work()).await;
                }
            }
        }
    }

    /// Opens the log and replays the batches of an earlier process. A failure does not
    /// stop the service: batches then wait in memory.
    async fn open(&mut self) {
        let Some(dir) = self.dir.take() else {
            return;
        };
        let Some(disk) = self.lock(dir).await else {
            return self.lanes.replay(Replay::default(), Instant::now());
        };
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let _ = self.lanes.disk.set(disk.clone());
        let (limits, stats) = (self.limits, self.lanes.spill_stats.clone());
        let (log, replay) = blocking::run(move || Log::open(disk, limits, stats)).await;
        self.log = Some(log);
        let fence = self.fence_of(&replay);
        self.fence_ms = self.lanes.clock.now_ms() + fence.as_millis() as i64;
        if !replay.records.is_empty() {
            let batches = replay.records.len();
            info!(batches, wait = ?fence, "Spilled batches replayed");
        }
        self.lanes.replay(replay, Instant::now() + fence);
    }

    /// Locks the directory. Waits for an earlier process that is still stopping.
    async fn lock(&self, dir: PathBuf) -> Option<Directory> {
        let give_up = Instant::now() + LOCK_TIMEOUT;
        loop {
            let path = dir.clone();
            let error = match blocking::run(move || Directory::open(path)).await {
                Ok(directory) => return Some(directory),
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > give_up {
                self.lanes.spill_stats.count(SpillError::Open);
                let dir = dir.display();
                warn!(%dir, %error, "Spill directory not usable, batches wait in memory");
                return None;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns how long Exports of the earlier process may still be in flight (law 3).
    fn fence_of(&self, replay: &Replay) -> Duration {
        let now_ms = self.lanes.clock.now_ms();
        let rest_ms = replay.fence_ms.map_or(0, |until_ms| until_ms - now_ms);
        let rest = Duration::from_millis(u64::try_from(rest_ms).unwrap_or(0));
        // A clock that was set back must not block the lanes forever.
        rest.min(MAX_EXPORT_TIMEOUT + WRITING_SLACK)
    }

    /// Records done batches, then compresses or spills the batches that are due.
    async fn step(&mut self) -> NextStep {
        let (done, poison) = self.lanes.take_done();
        for poison in poison {
            self.report(poison).await;
        }
        let due = if Instant::now() < self.not_before {
            Vec::new()
        } else {
            self.lanes.due(self.after, CHUNK_BYTES)
        };
        if done.is_empty() && due.is_empty() {
            self.write_fence();
            return NextStep::Later;
        }
        let mut next = if due.is_empty() {
            NextStep::Later
        } else {
            NextStep::AtOnce
        };
        let fence_ms = self.fence_ms(WRITING_SLACK);
        let log = self.log.take();
        let acked = done.clone();
        let bytes = due.iter().map(|record| record.payload.bytes().len());
        // Compressing a few bytes is cheaper than a switch to a blocking thread.
        let (log, processed) = if log.is_none() && bytes.sum::<usize>() < BLOCKING_BYTES {
            write(None, fence_ms, &done, due)
        } else {
            blocking::run(move || write(log, fence_ms, &done, due)).await
        };
        self.log = log;
        self.write_fence();
        self.lanes.ack(&acked);
        if processed.iter().any(|processed| !processed.is_final) {
            self.not_before = Instant::now() + WRITE_RETRY_DELAY;
            next = NextStep::Later;
        }
        for Processed {
            seq,
            body,
            is_final,
        } in processed
        {
            self.lanes.replace_body(seq, body, is_final);
        }
        next
    }

    /// Logs a batch that killed exporters, and keeps it if there is a spill directory.
    async fn report(&self, poison: Poison<Body>) {
        let disk = self.lanes.disk.get().cloned();
        let payload = request::payload(vec![(0, poison.body)], disk.clone()).await;
        let payload = match payload {
            Ok(payload) => Some(payload.bytes),
            Err(failed) => {
                self.lanes.spill_stats.count(SpillError::Read);
                warn!(error = %failed.error, "Reading a batch that killed exporters failed");
                None
            }
        };
        let bytes = payload.as_deref().unwrap_or_default();
        warn!(
            writer = writer::describe(bytes),
            destination = poison.destination.as_deref(),
            samples = poison.samples,
            bytes = bytes.len(),
            deaths = poison.deaths,
            file = disk.as_ref().map(|_| &poison.name),
            "Exporters died while they had this batch alone, it is dropped"
        );
        let (Some(disk), Some(payload)) = (disk, payload) else {
            return;
        };
        let file = poison.name.clone();
        let kept = blocking::run(move || spill::keep(&*disk, &file, &payload)).await;
        if let Err(error) = kept {
            self.lanes.spill_stats.count(SpillError::Write);
            warn!(file = poison.name, %error, "Keeping a batch that killed exporters failed");
        }
    }

    fn write_fence(&self) {
        if let Some(log) = self.log.as_ref().filter(|log| !log.is_empty()) {
            log.write_fence(self.fence_ms(POLL_SLACK));
        }
    }

    /// Returns the time until which Exports that begin within `slack` may be in flight.
    fn fence_ms(&self, slack: Duration) -> i64 {
        let timeout = self.lanes.longest_export_timeout() + slack;
        let own_ms = self.lanes.clock.now_ms() + timeout.as_millis() as i64;
        own_ms.max(self.fence_ms)
    }
}

/// Records done batches and writes batches that are due. A batch leaves memory only after
/// the disk has confirmed it.
pub(crate) fn write(
    log: Option<Log>,
    fence_ms: i64,
    done: &[Done],
    due: Vec<Record>,
) -> (Option<Log>, Vec<Processed>) {
    let Some(mut log) = log else {
        let packed = due.into_iter().map(|record| Processed {
            seq: record.seq,
            body: Body::InMemory(record.payload.pack()),
            is_final: true,
        });
        return (None, packed.collect());
    };
    if !due.is_empty() || !log.is_empty() {
        log.write_fence(fence_ms);
    }
    log.mark_done(done);
    let mut processed = Vec::with_capacity(due.len());
    let mut locations = Vec::with_capacity(due.len());
    let mut is_full = false;
    for mut record in due {
        record.payload = record.payload.pack();
        // After a batch that was not written, no later one of its key may be written.
        let location = if is_full {
            None
        } else {
            log.append(&record).ok()
        };
        is_full = location.is_none();
        locations.push(location);
        processed.push(Processed {
            seq: record.seq,
            body: Body::InMemory(record.payload),
            is_final: log.is_poisoned(),
        });
    }
    let is_synced = log.sync().is_ok();
    if !is_synced {
        // These batches stay in memory. Their records may be on the disk nevertheless, and a
        // restart must not send them again.
        let seqs = processed.iter().map(|processed| processed.seq);
        let appended = seqs
            .zip(&locations)
            .filter_map(|(seq, at)| Some(Done::everywhere(seq, (*at)?)));
        log.mark_done(&appended.collect::<Vec<_>>());
    }
    for (processed, location) in processed.iter_mut().zip(locations) {
        match location.filter(|_| is_synced) {
            Some(location) => {
                (processed.body, processed.is_final) = (Body::OnDisk(location), true);
            }
            None => processed.is_final = log.is_poisoned(),
        }
    }
    (Some(log), processed)
}
