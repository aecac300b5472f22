//! Scrape loop: scrapes one target in each slot of its schedule.
//!
//! The loop owns the target's scrape cache and holds the [`Claim`] of its target while it
//! scrapes. The pool sends it commands over a watch channel. When the channel closes, the
//! loop ends at once and writes no staleness markers: the target has moved to another
//! receiver, or the process shuts down (law 8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use mesh_contract::batch::Batch;
use tokio::{sync::watch, time::sleep};
use tracing::debug;

use super::{
    cache::Cache,
    endings::Ending,
    job::{Job, Shared},
    metrics::SkipReason,
    run::{self, ScrapeRun},
    schedule::Schedule,
    status::Health,
    target::Target,
};
use crate::{
    otlp::{Encoded, Resource},
    ownership::{Claim, ScrapeRecord},
};

/// Command from the pool to a scrape loop.
#[derive(Clone, Debug)]
pub(crate) enum LoopCommand {
    /// Scrape with the settings of this job.
    Scrape(Arc<Job>),
    /// The target left discovery. It may come back.
    TargetGone,
}

/// Scrape loop of one target.
#[derive(Debug)]
pub(crate) struct ScrapeLoop {
    target: Arc<Target>,
    shared: Shared,
    commands: watch::Receiver<LoopCommand>,
    job: Arc<Job>,
    schedule: Schedule,
    resource: Resource,
    health: Health,
    /// Claim of the target; `None` after the series of a removed target have ended.
    claim: Option<Claim>,
    /// True once the series of a removed target have ended. The pool may then drop the loop.
    ended: Arc<AtomicBool>,
    /// Scrape cache; `None` while a response is processed.
    cache: Option<Cache>,
    /// Slot of the last scrape.
    last_slot: Option<i64>,
    /// Size of the last body in bytes; the expected size of the next one.
    last_body_bytes: usize,
    /// Size of the last scrape's batches in bytes.
    last_batch_bytes: usize,
}

/// Expected size of a target's first body in bytes.
const INITIAL_BODY_BYTES: usize = 64 << 10;

/// Event that ends a wait.
enum Wakeup {
    /// The slot has started.
    SlotDue,
    /// The pool sent a command.
    Command(LoopCommand),
    /// The pool dropped the loop.
    Cancelled,
}

// === impl ScrapeLoop ===

impl ScrapeLoop {
    /// Creates a loop for `target` and claims the target.
    pub(crate) fn new(
        target: Arc<Target>,
        job: Arc<Job>,
        shared: Shared,
        commands: watch::Receiver<LoopCommand>,
        health: Health,
    ) -> Self {
        let label = |name| target.public.get(name).unwrap_or_default();
        let ownership = shared.ownership.clone();
        let claim = Claim::new(ownership, target.identity, &job.config.job_name);
        Self {
            claim: Some(claim),
            schedule: Schedule::new(target.identity, job.replica_group(), target.interval),
            resource: Resource::new(
                label(mesh_model::labels::JOB),
                label(mesh_model::labels::INSTANCE),
            ),
            target,
            shared,
            commands,
            job,
            health,
            ended: Arc::default(),
            cache: Some(Cache::new()),
            last_slot: None,
            last_body_bytes: INITIAL_BODY_BYTES,
            last_batch_bytes: INITIAL_BODY_BYTES,
        }
    }

    /// Returns the flag that is true once the series of a removed target have ended.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        self.ended.clone()
    }

    /// Scrapes in every slot after the claim is granted, until the pool drops the loop.
    pub(crate) async fn run(mut self) {
        let Some(mut slot) = self.acquire_target().await else {
            return;
        };
        loop {
            match self.wait_for(&mut slot).await {
                Wakeup::Cancelled => return,
                Wakeup::Command(LoopCommand::Scrape(job)) => self.reload(job),
                Wakeup::Command(LoopCommand::TargetGone) => {
                    let Some(job) = self.end_series_unless_back().await else {
                        return;
                    };
                    self.reload(job);
                    let next = match &self.claim {
                        Some(_) => Some(self.next_slot()),
                        None => self.acquire_target().await,
                    };
                    let Some(next) = next else { return };
                    slot = next;
                }
                Wakeup::SlotDue => {
                    slot = slot.max(self.schedule.slot_at(self.shared.clock.now_ms()));
                    self.scrape(slot).await;
                    slot = self.slot_after(slot);
                }
            }
        }
    }

    /// Waits until the claim is granted. Returns the first slot to scrape, or `None` if the
    /// pool dropped the loop.
    async fn acquire_target(&mut self) -> Option<i64> {
        loop {
            let claim = self.claim.take();
            let mut claim = claim.unwrap_or_else(|| self.claim());
            tokio::select! {
                biased;
                changed = self.commands.changed() => {
                    changed.ok()?;
                    let command = self.commands.borrow_and_update().clone();
                    match command {
                        LoopCommand::Scrape(job) => {
                            self.claim = Some(claim);
                            self.reload(job);
                        }
                        LoopCommand::TargetGone => {
                            drop(claim);
                            let job = self.wait_until_back().await?;
                            self.reload(job);
                        }
                    }
                }
                last = claim.granted() => {
                    self.claim = Some(claim);
                    if let Some(last) = last {
                        self.health.inherit(last);
                    }
                    return Some(self.first_slot(last.map(|last| last.time_ms)));
                }
            }
        }
    }

    fn claim(&self) -> Claim {
        let job = &self.job.config.job_name;
        Claim::new(self.shared.ownership.clone(), self.target.identity, job)
    }

    /// Returns the first slot to scrape.
    ///
    /// This is the next slot to start. If the previous owner reported its last scrape, it
    /// is the slot after that scrape. That slot may already have started, but not more
    /// than a tenth of the interval ago.
    fn first_slot(&self, last_ms: Option<i64>) -> i64 {
        let now_ms = self.shared.clock.now_ms();
        let next = self.schedule.slot_at(now_ms - 1) + 1;
        let Some(last_ms) = last_ms else {
            return next;
        };
        // The clock of the previous owner may be ahead, but not by more than a slot.
        (self.schedule.slot_at(last_ms) + 1).clamp(self.due_slot(), next + 1)
    }

    /// Returns the first slot that starts from now on, or started at most a tenth of the
    /// interval ago.
    fn due_slot(&self) -> i64 {
        let late_ms = self.schedule.interval().as_millis() as i64 / 10;
        let now_ms = self.shared.clock.now_ms();
        self.schedule.slot_at(now_ms - 1 - late_ms) + 1
    }

    /// Returns the slot to scrape after `slot`.
    ///
    /// If a slot started during the last scrape, the loop scrapes it late. If several did,
    /// it scrapes only the last of them.
    fn slot_after(&self, slot: i64) -> i64 {
        let current = self.schedule.slot_at(self.shared.clock.now_ms());
        if current > slot + 1 {
            self.shared
                .metrics
                .missed
                .inc_by((current - slot - 1).unsigned_abs());
        }
        current.max(slot + 1)
    }

    fn next_slot(&self) -> i64 {
        self.schedule.slot_at(self.shared.clock.now_ms()) + 1
    }

    /// Waits for a slot.
    ///
    /// If the clock is set back, this moves the slot back too. As in Prometheus, the loop
    /// keeps scraping while the clock repeats a period. The storage rules reject samples
    /// that are older than the last one of their series.
    async fn wait_for(&mut self, slot: &mut i64) -> Wakeup {
        loop {
            if *slot > self.next_slot() + 1 {
                *slot = self.due_slot();
            }
            if let Some(wakeup) = self.sleep_towards(self.schedule.start_ms(*slot)).await {
                return wakeup;
            }
        }
    }

    async fn wait_until(&mut self, time_ms: i64) -> Wakeup {
        loop {
            if let Some(wakeup) = self.sleep_towards(time_ms).await {
                return wakeup;
            }
        }
    }

    /// Sleeps until a time, but at most one interval, as the clock may be set.
    ///
    /// Returns `None` if the sleep ended and the time may still be ahead.
    async fn sleep_towards(&mut self, time_ms: i64) -> Option<Wakeup> {
        let wait = time_ms - self.shared.clock.now_ms();
        let wait = u64::try_from(wait).unwrap_or_default();
        let sleeping = sleep(Duration::from_millis(wait).min(self.schedule.interval()));
        tokio::select! {
            // A command takes precedence over a slot that is due. Otherwise a loop whose
            // scrapes take a whole interval would never end.
            biased;
            changed = self.commands.changed() => Some(match changed {
                Ok(()) => Wakeup::Command(self.commands.borrow_and_update().clone()),
                Err(_) => Wakeup::Cancelled,
            }),
            () = std::future::ready(()), if wait == 0 => Some(Wakeup::SlotDue),
            () = sleeping => None,
        }
    }

    /// Applies the settings of a reload. Clears the cached texts if the new settings give
    /// series other labels.
    fn reload(&mut self, job: Arc<Job>) {
        if !job.options.produces_same_series(&self.job.options)
            && let Some(cache) = &mut self.cache
        {
            cache.clear_texts();
        }
        self.job = job;
    }

    async fn scrape(&mut self, slot: i64) {
        if !self.shared.outbox.has_room(self.last_batch_bytes) {
            self.shared.metrics.skipped(SkipReason::OutboxFull);
            debug!(url = self.target.url, "Outbox full, scrape skipped");
            return;
        }
        let permit = self.shared.concurrency.clone().acquire_owned().await;
        let time_ms = self.schedule.time_ms(slot, self.shared.clock.now_ms());
        let has_twin = self.shared.endings.has_twin(&self.target);
        let twins = has_twin.then(|| self.watch_series());
        let run = ScrapeRun::new(&self.target, &self.job, &self.shared, time_ms);
        let fetched = run.fetch(self.last_body_bytes).await;
        if self.is_replaced() {
            // The other target may have newer samples by now.
            return;
        }
        self.last_slot = Some(slot);
        let Some(cache) = self.cache.take() else {
            return;
        };
        let resource = self.resource.clone();
        let result = run::process(run, fetched, cache, resource, twins).await;
        drop(permit);
        self.cache = Some(result.cache);
        self.last_body_bytes = result.body_bytes.unwrap_or(self.last_body_bytes);
        self.health.set(result.last);
        self.push(time_ms, result.parts);
    }

    /// Returns true if the target has left discovery and another target has its labels.
    fn is_replaced(&self) -> bool {
        let is_gone = matches!(*self.commands.borrow(), LoopCommand::TargetGone);
        is_gone && self.shared.endings.has_twin(&self.target)
    }

    fn push(&mut self, time_ms: i64, parts: Vec<Encoded>) {
        self.last_batch_bytes = parts.iter().map(|part| part.payload.len()).sum();
        for part in parts {
            let batch = Batch {
                key: self.target.identity,
                payload: part.payload,
                samples: part.samples,
                time_ms,
                context: self.job.context.clone(),
            };
            // The outbox closes only when the process shuts down, which ends this loop too.
            if self.shared.outbox.push(batch).is_err() {
                return;
            }
            self.shared.metrics.samples.inc_by(part.samples);
            if let Some(claim) = &self.claim {
                let is_up = self.health.record().is_some_and(|last| last.is_up);
                claim.record_scrape(ScrapeRecord { time_ms, is_up });
            }
        }
    }

    /// Waits for a removed target to come back, and ends its series if it does not.
    ///
    /// As in Prometheus, the staleness markers follow about two intervals after the last
    /// scrape. Their timestamp is that of the first missed scrape. A series that another
    /// target continues gets none. Returns the job of a target that came back, or `None` if
    /// the pool dropped the loop.
    async fn end_series_unless_back(&mut self) -> Option<Arc<Job>> {
        if let Some(last) = self.last_slot {
            let ending = self.watch_series();
            let missed_ms = self
                .schedule
                .start_ms(last + 1)
                .max(self.shared.clock.now_ms());
            let interval = self.schedule.interval();
            let wait = interval + interval / 10;
            let until_ms = missed_ms.saturating_add(wait.as_millis() as i64);
            loop {
                match self.wait_until(until_ms).await {
                    Wakeup::Cancelled => return None,
                    Wakeup::Command(LoopCommand::Scrape(job)) => return Some(job),
                    Wakeup::Command(LoopCommand::TargetGone) => {}
                    Wakeup::SlotDue => break,
                }
            }
            if let Some(cache) = &mut self.cache
                && !ending.has_unknown_successor(&self.target)
            {
                let run = ScrapeRun::new(&self.target, &self.job, &self.shared, missed_ms);
                let parts = run.end_series(cache, &self.resource, &ending);
                self.push(missed_ms, parts);
            }
        }
        self.cache = Some(Cache::new());
        self.last_slot = None;
        if let Some(claim) = self.claim.take() {
            claim.end();
        }
        self.wait_until_back().await
    }

    /// Watches whether other targets continue the series of this one.
    fn watch_series(&self) -> Ending {
        let cache = self.cache.as_ref();
        let series = cache.map(|cache| cache.series.stored_hashes());
        let now_ms = self.shared.clock.now_ms();
        self.shared
            .endings
            .watch(series.unwrap_or_default(), now_ms)
    }

    /// Waits for a removed target to come back after its series have ended.
    async fn wait_until_back(&mut self) -> Option<Arc<Job>> {
        self.ended.store(true, Relaxed);
        loop {
            self.commands.changed().await.ok()?;
            if let LoopCommand::Scrape(job) = self.commands.borrow_and_update().clone() {
                self.ended.store(false, Relaxed);
                return Some(job);
            }
        }
    }
}
