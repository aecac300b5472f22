//! The scrape pool: the targets of one job and the loops that scrape them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use mesh::{config::discovery::TargetGroup, labels::Labels};
use tokio::sync::watch;
use tracing::{Instrument, info_span, warn};

use super::{
    job::{Job, Shared},
    scrape_loop::{Order, ScrapeLoop},
    status::{Health, JobStatus, TargetStatus},
    target::{Populated, Target, populate},
};

/// The targets of one job and the loops that scrape them.
#[derive(Debug)]
pub(crate) struct Pool {
    job: Arc<Job>,
    shared: Shared,
    /// By identity, so that loops begin and end in an order that repeats.
    loops: BTreeMap<u64, Running>,
    groups: Vec<Arc<TargetGroup>>,
    population: Population,
}

/// A loop that runs. Dropped, the loop ends without a marker.
#[derive(Debug)]
struct Running {
    orders: watch::Sender<Order>,
    health: Health,
    /// The target is gone, and the loop waits whether it comes back.
    gone: bool,
    /// So long that its series have ended.
    ended: Arc<AtomicBool>,
}

/// What discovery's target groups come to.
#[derive(Debug, Default)]
struct Population {
    /// By identity, so that each is there once.
    targets: BTreeMap<u64, Arc<Target>>,
    dropped: Vec<Labels>,
    dropped_count: usize,
    errors: Vec<String>,
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(job: Arc<Job>, shared: Shared) -> Self {
        Self {
            job,
            shared,
            loops: BTreeMap::new(),
            groups: Vec::new(),
            population: Population::default(),
        }
    }

    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Takes up the settings of a reload. The loops go on with their caches and in
    /// their phases.
    pub(crate) fn follow(&mut self, job: Arc<Job>) {
        self.job = job;
        for running in self.loops.values().filter(|running| !running.gone) {
            running.orders.send_replace(Order::Scrape(self.job.clone()));
        }
    }

    /// Takes up what discovery knows now.
    pub(crate) fn discovered(&mut self, groups: &[Arc<TargetGroup>]) {
        if self.groups != groups {
            self.groups = groups.to_vec();
        }
    }

    /// Makes targets of what is discovered.
    pub(crate) fn populate(&mut self) {
        let population = self.population();
        let errors = population.errors.len();
        let metrics = &self.shared.metrics;
        metrics.target_errors(&self.job.config.job_name, errors);
        self.job.count_targets(population.targets.len());
        self.population = population;
    }

    /// The identities of all targets of the job, this receiver's or not.
    pub(crate) fn targets(&self) -> impl Iterator<Item = u64> {
        self.population.targets.keys().copied()
    }

    /// Makes the loops those of the targets that are to be scraped here.
    pub(crate) fn sync(&mut self, is_here: impl Fn(u64) -> bool) -> JobStatus {
        let here: BTreeSet<u64> = self.targets().filter(|target| is_here(*target)).collect();
        self.end_others(&here);
        for identity in &here {
            let target = self.population.targets[identity].clone();
            self.begin(&target);
        }
        self.status(&here)
    }

    fn population(&self) -> Population {
        let mut population = Population::default();
        let config = &self.job.config;
        let keep = usize::try_from(config.keep_dropped_targets).unwrap_or(usize::MAX);
        for group in &self.groups {
            for labels in &group.targets {
                match populate(config, group, labels) {
                    Ok(Populated::Kept(target)) => {
                        population
                            .targets
                            .insert(target.identity, Arc::from(target));
                    }
                    Ok(Populated::Dropped(labels)) => {
                        population.dropped_count += 1;
                        if keep == 0 || population.dropped.len() < keep {
                            population.dropped.push(labels);
                        }
                    }
                    Err(error) => population.errors.push(format!("{labels}: {error}")),
                }
            }
        }
        if let Some(error) = population.errors.first() {
            let errors = population.errors.len();
            warn!(job = config.job_name, errors, %error, "Targets that cannot be scraped");
        }
        population
    }

    /// Ends the loops of targets that are not to be scraped here. Those that are
    /// gone from discovery get markers in the end; those that another receiver
    /// scrapes from now on do not.
    fn end_others(&mut self, here: &BTreeSet<u64>) {
        let known = &self.population.targets;
        self.loops.retain(|identity, running| {
            if here.contains(identity) {
                return true;
            }
            if known.contains_key(identity) || running.gone && running.ended.load(Relaxed) {
                return false;
            }
            if !running.gone {
                running.orders.send_replace(Order::Gone);
                running.gone = true;
            }
            true
        });
    }

    fn begin(&mut self, target: &Arc<Target>) {
        if let Some(running) = self.loops.get_mut(&target.identity) {
            if running.gone {
                running.orders.send_replace(Order::Scrape(self.job.clone()));
                running.gone = false;
            }
            return;
        }
        let (orders, told) = watch::channel(Order::Scrape(self.job.clone()));
        let health = Health::default();
        let (job, shared) = (self.job.clone(), self.shared.clone());
        let begun = ScrapeLoop::new(target.clone(), job, shared, told, health.clone());
        let ended = begun.ended();
        let span = info_span!("scrape", job = self.job.config.job_name, url = target.url);
        tokio::spawn(begun.run().instrument(span));
        let running = Running {
            orders,
            health,
            gone: false,
            ended,
        };
        self.loops.insert(target.identity, running);
    }

    fn status(&self, here: &BTreeSet<u64>) -> JobStatus {
        let population = &self.population;
        let job = self.job.config.job_name.clone();
        let others = population.targets.len() - here.len();
        let metrics = &self.shared.metrics;
        metrics.targets(&job, here.len(), others, population.dropped_count);
        let targets = population.targets.values().map(|target| TargetStatus {
            health: self.loops.get(&target.identity).map(|l| l.health.clone()),
            target: target.clone(),
        });
        JobStatus {
            job,
            targets: targets.collect(),
            dropped: population.dropped.clone(),
            dropped_count: population.dropped_count,
            errors: population.errors.clone(),
        }
    }
}
