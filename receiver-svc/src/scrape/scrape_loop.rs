//! The loop that scrapes one target.
//!
//! It owns the target's cache and is told what to do through a watch: to go on,
//! perhaps with other settings, or that the target is gone. A loop that is no
//! longer told anything ends at once and leaves no marker behind: its target may
//! have moved to another receiver, or the process stops (law 8). While it scrapes it
//! holds the [`Claim`] of its target.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use mesh::batch::Batch;
use tokio::{sync::watch, time::sleep};
use tracing::debug;

use super::{
    cache::Cache,
    job::{Job, Shared},
    metrics::Skip,
    run::{self, Run},
    schedule::Schedule,
    status::Health,
    target::Target,
};
use crate::{
    handover::{Claim, Seen},
    otlp::Resource,
};

/// What a loop is told.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Scrape, as this job says.
    Scrape(Arc<Job>),
    /// The target is gone from discovery; it may come back.
    Gone,
}

/// Scrapes one target.
#[derive(Debug)]
pub(crate) struct ScrapeLoop {
    target: Arc<Target>,
    shared: Shared,
    orders: watch::Receiver<Order>,
    job: Arc<Job>,
    schedule: Schedule,
    resource: Resource,
    health: Health,
    /// `None` once the series of a target that is gone have ended.
    claim: Option<Claim>,
    /// The series of a target that is gone have ended, so that nothing is lost where
    /// the loop is dismissed.
    ended: Arc<AtomicBool>,
    /// Taken while a scrape is worked on.
    cache: Option<Cache>,
    /// The slot of the last scrape.
    last: Option<i64>,
    /// Bytes of the last body, and of what was made of it.
    last_body: usize,
    last_batch: usize,
}

/// Bytes that a target is expected to send the first time.
const FIRST_BODY: usize = 64 << 10;

/// Why a wait ended.
enum Woken {
    Due,
    Told(Order),
    /// Nobody will tell anything any more.
    Dismissed,
}

// === impl ScrapeLoop ===

impl ScrapeLoop {
    /// A loop for `target`, in `group`'s phase of it.
    pub(crate) fn new(
        target: Arc<Target>,
        job: Arc<Job>,
        shared: Shared,
        orders: watch::Receiver<Order>,
        health: Health,
    ) -> Self {
        let label = |name| target.public.get(name).unwrap_or_default();
        let claim = shared.handover.claim(target.identity, &job.config.job_name);
        Self {
            claim: Some(claim),
            schedule: Schedule::new(target.identity, job.group(), target.interval),
            resource: Resource::new(label(mesh::labels::JOB), label(mesh::labels::INSTANCE)),
            target,
            shared,
            orders,
            job,
            health,
            ended: Arc::default(),
            cache: Some(Cache::new()),
            last: None,
            last_body: FIRST_BODY,
            last_batch: FIRST_BODY,
        }
    }

    /// Whether the series of a target that is gone have ended.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        self.ended.clone()
    }

    /// Scrapes in every slot from when no other receiver does, until dismissed.
    pub(crate) async fn run(mut self) {
        let Some(mut slot) = self.take_over().await else {
            return;
        };
        loop {
            match self.wait_for(&mut slot).await {
                Woken::Dismissed => return,
                Woken::Told(Order::Scrape(job)) => self.follow(job),
                Woken::Told(Order::Gone) => {
                    let Some(job) = self.end().await else {
                        return;
                    };
                    self.follow(job);
                    let next = match &self.claim {
                        Some(_) => Some(self.next_slot()),
                        None => self.take_over().await,
                    };
                    let Some(next) = next else { return };
                    slot = next;
                }
                Woken::Due => {
                    slot = slot.max(self.schedule.slot_at(self.shared.clock.now_ms()));
                    self.scrape(slot).await;
                    slot = self.slot_after(slot);
                }
            }
        }
    }

    /// Waits until no other receiver scrapes the target; returns the first slot, or
    /// `None` where the loop was dismissed.
    async fn take_over(&mut self) -> Option<i64> {
        loop {
            let claim = self.claim.take();
            let mut claim = claim.unwrap_or_else(|| self.claim());
            tokio::select! {
                biased;
                told = self.orders.changed() => {
                    told.ok()?;
                    let order = self.orders.borrow_and_update().clone();
                    match order {
                        Order::Scrape(job) => {
                            self.claim = Some(claim);
                            self.follow(job);
                        }
                        Order::Gone => {
                            drop(claim);
                            let job = self.until_back().await?;
                            self.follow(job);
                        }
                    }
                }
                last = claim.granted() => {
                    self.claim = Some(claim);
                    if let Some(last) = last {
                        self.health.take_over(last);
                    }
                    return Some(self.first_slot(last.map(|last| last.time_ms)));
                }
            }
        }
    }

    fn claim(&self) -> Claim {
        let job = &self.job.config.job_name;
        self.shared.handover.claim(self.target.identity, job)
    }

    /// The first slot that begins from now on. Where another receiver has told when it
    /// scraped the target last it is after that slot, and may be one that began just
    /// now: a tenth of it late is still its rhythm.
    fn first_slot(&self, last_ms: Option<i64>) -> i64 {
        let now_ms = self.shared.clock.now_ms();
        let next = self.schedule.slot_at(now_ms - 1) + 1;
        let Some(last_ms) = last_ms else {
            return next;
        };
        // Another one's clock may be ahead, but not by hours.
        (self.schedule.slot_at(last_ms) + 1).clamp(self.due_slot(), next + 1)
    }

    /// The first slot that begins from now on or began just now.
    fn due_slot(&self) -> i64 {
        let late_ms = self.schedule.interval().as_millis() as i64 / 10;
        let now_ms = self.shared.clock.now_ms();
        self.schedule.slot_at(now_ms - 1 - late_ms) + 1
    }

    /// The slot after `slot`. One that began during the last scrape is made up
    /// for; of several only the last.
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

    /// Waits for a slot. A clock that was set back makes it an earlier one: the target
    /// is scraped also while the clock shows a time for the second time, as Prometheus
    /// does, and what its series have newer samples of is refused here.
    async fn wait_for(&mut self, slot: &mut i64) -> Woken {
        loop {
            if *slot > self.next_slot() + 1 {
                *slot = self.due_slot();
            }
            if let Some(woken) = self.step_towards(self.schedule.start_ms(*slot)).await {
                return woken;
            }
        }
    }

    async fn wait_until(&mut self, time_ms: i64) -> Woken {
        loop {
            if let Some(woken) = self.step_towards(time_ms).await {
                return woken;
            }
        }
    }

    /// Waits until a time, but not for longer than a slot, as the clock may be set.
    async fn step_towards(&mut self, time_ms: i64) -> Option<Woken> {
        let wait = time_ms - self.shared.clock.now_ms();
        let wait = u64::try_from(wait).unwrap_or_default();
        if wait == 0 {
            return Some(Woken::Due);
        }
        let wait = Duration::from_millis(wait).min(self.schedule.interval());
        tokio::select! {
            // An order counts before the slot that begins with it.
            biased;
            told = self.orders.changed() => Some(match told {
                Ok(()) => Woken::Told(self.orders.borrow_and_update().clone()),
                Err(_) => Woken::Dismissed,
            }),
            () = sleep(wait) => None,
        }
    }

    /// Takes up the settings of a reload. What is in the cache stays in use
    /// unless texts would become other series now.
    fn follow(&mut self, job: Arc<Job>) {
        if !job.options.maps_alike(&self.job.options)
            && let Some(cache) = &mut self.cache
        {
            cache.forget_texts();
        }
        self.job = job;
    }

    async fn scrape(&mut self, slot: i64) {
        if !self.shared.outbox.has_room(self.last_batch) {
            self.shared.metrics.skipped(Skip::OutboxFull);
            debug!(target = self.target.url, "Outbox full, scrape skipped");
            return;
        }
        let running = self.shared.running.clone().acquire_owned().await;
        let time_ms = self.schedule.time_ms(slot, self.shared.clock.now_ms());
        self.last = Some(slot);
        let Some(cache) = self.cache.take() else {
            return;
        };
        let run = Run::new(&self.target, &self.job, &self.shared, time_ms);
        let fetched = run.fetch(self.last_body).await;
        let done = run::work(run, fetched, cache, self.resource.clone()).await;
        drop(running);
        self.cache = Some(done.cache);
        self.last_body = done.body_bytes.unwrap_or(self.last_body);
        self.health.set(done.last);
        self.push(time_ms, done.parts);
    }

    fn push(&mut self, time_ms: i64, parts: Vec<crate::otlp::Encoded>) {
        self.last_batch = parts.iter().map(|part| part.payload.len()).sum();
        for part in parts {
            let batch = Batch {
                key: self.target.identity,
                payload: part.payload,
                samples: part.samples,
                time_ms,
                facts: self.job.facts.clone(),
            };
            // Closed only where the process stops, which ends this loop too.
            if self.shared.outbox.push(batch).is_err() {
                return;
            }
            self.shared.metrics.samples.inc_by(part.samples);
            if let Some(claim) = &self.claim {
                let is_up = self.health.seen().is_some_and(|last| last.is_up);
                claim.scraped(Seen { time_ms, is_up });
            }
        }
    }

    /// Waits for a target that is gone to come back, and ends its series where it
    /// does not: two intervals and a little later, with the time of the first
    /// scrape that was missed, as Prometheus does. Returns the job of a target
    /// that came back; `None` where the loop was dismissed.
    async fn end(&mut self) -> Option<Arc<Job>> {
        if let Some(last) = self.last {
            let missed_ms = self
                .schedule
                .start_ms(last + 1)
                .max(self.shared.clock.now_ms());
            let interval = self.schedule.interval();
            let wait = interval + interval / 10;
            let until_ms = missed_ms.saturating_add(wait.as_millis() as i64);
            loop {
                match self.wait_until(until_ms).await {
                    Woken::Dismissed => return None,
                    Woken::Told(Order::Scrape(job)) => return Some(job),
                    Woken::Told(Order::Gone) => {}
                    Woken::Due => break,
                }
            }
            if let Some(cache) = &mut self.cache {
                let run = Run::new(&self.target, &self.job, &self.shared, missed_ms);
                let parts = run.end_series(cache, &self.resource);
                self.push(missed_ms, parts);
            }
        }
        self.cache = Some(Cache::new());
        self.last = None;
        if let Some(claim) = self.claim.take() {
            claim.ended();
        }
        self.until_back().await
    }

    /// Waits for a target that is gone, and has no series, to come back.
    async fn until_back(&mut self) -> Option<Arc<Job>> {
        self.ended.store(true, Relaxed);
        loop {
            self.orders.changed().await.ok()?;
            if let Order::Scrape(job) = self.orders.borrow_and_update().clone() {
                self.ended.store(false, Relaxed);
                return Some(job);
            }
        }
    }
}
