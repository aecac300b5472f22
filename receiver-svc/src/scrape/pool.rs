//! Scrape pool: the targets of one job and their scrape loops.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use mesh_model::config::{discovery::TargetGroup, scrape::ScrapeConfig};
use tokio::sync::watch;
use tracing::{Instrument, info_span, warn};

use super::{
    job::{Job, Shared},
    scrape_loop::{LoopCommand, ScrapeLoop},
    status::{DroppedTarget, Health, JobStatus, TargetStatus},
    target::{Populated, Target, populate},
};

/// Targets of one job and their scrape loops.
#[derive(Debug)]
pub(crate) struct Pool {
    job: Arc<Job>,
    shared: Shared,
    /// Loops by target identity. The order is stable, so that simulations repeat.
    loops: BTreeMap<u64, RunningLoop>,
    groups: Vec<Arc<TargetGroup>>,
    /// Results of the groups, as of the last [`Pool::populate`].
    populated: Vec<PopulatedGroup>,
    discovered: DiscoveredTargets,
}

/// Handle of a running scrape loop. Dropping it ends the loop without staleness markers.
#[derive(Debug)]
struct RunningLoop {
    commands: watch::Sender<LoopCommand>,
    health: Health,
    /// True if the target left discovery. The loop waits for it to come back.
    gone: bool,
    /// True once the loop has ended the series of a target that left discovery.
    ended: Arc<AtomicBool>,
}

/// Targets that result from the target groups.
#[derive(Debug, Default)]
struct DiscoveredTargets {
    /// Active targets by identity, without duplicates.
    targets: BTreeMap<u64, Arc<Target>>,
    dropped: Arc<[DroppedTarget]>,
    dropped_count: usize,
    errors: Vec<String>,
}

/// Targets that result from one target group. They are kept until the group changes, since
/// relabeling a whole cluster costs much more than comparing its groups.
#[derive(Debug)]
struct PopulatedGroup {
    group: Arc<TargetGroup>,
    active: Vec<Arc<Target>>,
    /// Positions of dropped targets in the group.
    dropped: Vec<u32>,
    errors: Vec<String>,
}

/// Returns the address of a group. No other group has it while the group exists.
fn address(group: &Arc<TargetGroup>) -> usize {
    Arc::as_ptr(group).addr()
}

// === impl PopulatedGroup ===

impl PopulatedGroup {
    fn new(config: &ScrapeConfig, group: &Arc<TargetGroup>) -> Self {
        let mut populated = Self {
            group: group.clone(),
            active: Vec::new(),
            dropped: Vec::new(),
            errors: Vec::new(),
        };
        for (index, labels) in (0..).zip(&group.targets) {
            match populate(config, group, labels) {
                Ok(Populated::Active(target)) => populated.active.push(Arc::from(target)),
                Ok(Populated::Dropped) => populated.dropped.push(index),
                Err(error) => populated.errors.push(format!("{labels}: {error}")),
            }
        }
        populated
    }
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(job: Arc<Job>, shared: Shared) -> Self {
        Self {
            job,
            shared,
            loops: BTreeMap::new(),
            groups: Vec::new(),
            populated: Vec::new(),
            discovered: DiscoveredTargets::default(),
        }
    }

    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Applies the settings of a reload. The loops keep their caches and schedules.
    pub(crate) fn reload(&mut self, job: Arc<Job>) {
        self.job = job;
        self.populated.clear();
        for running in self.loops.values().filter(|running| !running.gone) {
            running
                .commands
                .send_replace(LoopCommand::Scrape(self.job.clone()));
        }
    }

    /// Updates the target groups.
    pub(crate) fn update_groups(&mut self, groups: &[Arc<TargetGroup>]) {
        if self.groups != groups {
            self.groups = groups.to_vec();
        }
    }

    /// Computes the targets from the target groups.
    pub(crate) fn populate(&mut self) {
        let known = std::mem::take(&mut self.populated).into_iter();
        let mut known: HashMap<_, _> = known.map(|known| (address(&known.group), known)).collect();
        let populated = self.groups.iter().map(|group| {
            let unchanged = known.remove(&address(group));
            unchanged.unwrap_or_else(|| PopulatedGroup::new(&self.job.config, group))
        });
        self.populated = populated.collect();
        let discovered = self.merge_groups();
        let errors = discovered.errors.len();
        let metrics = &self.shared.metrics;
        metrics.target_errors(&self.job.config.job_name, errors);
        self.job.set_target_count(discovered.targets.len());
        self.discovered = discovered;
    }

    /// Returns the identities of all targets of the job, whichever receiver owns them.
    pub(crate) fn targets(&self) -> impl Iterator<Item = u64> {
        self.discovered.targets.keys().copied()
    }

    /// Starts and stops loops to match the targets that this receiver has to scrape.
    pub(crate) fn sync(&mut self, is_here: impl Fn(u64) -> bool) -> JobStatus {
        let here: BTreeSet<u64> = self.targets().filter(|target| is_here(*target)).collect();
        self.stop_loops(&here);
        for identity in &here {
            let target = self.discovered.targets[identity].clone();
            self.start_loop(&target);
        }
        self.status(&here)
    }

    fn merge_groups(&self) -> DiscoveredTargets {
        let mut discovered = DiscoveredTargets::default();
        let config = &self.job.config;
        for populated in &self.populated {
            let active = populated.active.iter();
            let active = active.map(|target| (target.identity, target.clone()));
            discovered.targets.extend(active);
            discovered.dropped_count += populated.dropped.len();
            discovered.errors.extend(populated.errors.iter().cloned());
        }
        let keep = match usize::try_from(config.keep_dropped_targets) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let dropped = self.populated.iter().flat_map(|populated| {
            populated.dropped.iter().map(|index| DroppedTarget {
                job: self.job.clone(),
                group: populated.group.clone(),
                index: *index,
            })
        });
        discovered.dropped = dropped.take(keep).collect();
        if let Some(error) = discovered.errors.first() {
            let errors = discovered.errors.len();
            warn!(job = config.job_name, errors, %error, "Invalid targets");
        }
        discovered
    }

    /// Stops the loops of all targets but those in `here`.
    ///
    /// A target that left discovery gets staleness markers later. A target that moves to
    /// another receiver gets none.
    fn stop_loops(&mut self, here: &BTreeSet<u64>) {
        let known = &self.discovered.targets;
        self.loops.retain(|identity, running| {
            if here.contains(identity) {
                return true;
            }
            if known.contains_key(identity) || running.gone && running.ended.load(Relaxed) {
                return false;
            }
            if !running.gone {
                running.commands.send_replace(LoopCommand::TargetGone);
                running.gone = true;
            }
            true
        });
    }

    fn start_loop(&mut self, target: &Arc<Target>) {
        if let Some(running) = self.loops.get_mut(&target.identity) {
            if running.gone {
                running
                    .commands
                    .send_replace(LoopCommand::Scrape(self.job.clone()));
                running.gone = false;
            }
            return;
        }
        let (commands, receiver) = watch::channel(LoopCommand::Scrape(self.job.clone()));
        let health = Health::default();
        let (job, shared) = (self.job.clone(), self.shared.clone());
        let scrape_loop = ScrapeLoop::new(target.clone(), job, shared, receiver, health.clone());
        let ended = scrape_loop.ended();
        let span = info_span!("scrape", job = self.job.config.job_name, url = target.url);
        tokio::spawn(scrape_loop.run().instrument(span));
        let running = RunningLoop {
            commands,
            health,
            gone: false,
            ended,
        };
        self.loops.insert(target.identity, running);
    }

    fn status(&self, here: &BTreeSet<u64>) -> JobStatus {
        let discovered = &self.discovered;
        let job = self.job.config.job_name.clone();
        let others = discovered.targets.len() - here.len();
        let metrics = &self.shared.metrics;
        metrics.targets(&job, here.len(), others, discovered.dropped_count);
        let targets = discovered.targets.values().map(|target| TargetStatus {
            health: self.loops.get(&target.identity).map(|l| l.health.clone()),
            target: target.clone(),
        });
        JobStatus {
            job,
            targets: targets.collect(),
            dropped: discovered.dropped.clone(),
            dropped_count: discovered.dropped_count,
            errors: discovered.errors.clone(),
        }
    }
}
