//! Manages all scrape pools, from the configuration, discovery and the shard.
//!
//! Each scrape loop is a task. It ends when the manager is dropped, and then writes no
//! staleness markers: a shutdown does not end series.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_contract::batch::BatchContext;
use mesh_model::config::scrape::ScrapeConfig;
use tokio::sync::watch;
use tracing::warn;

use super::{
    job::{Job, PrepareError, Shared},
    pool::Pool,
    status::Status,
};
use crate::{
    discovery::Jobs,
    ownership::Overrides,
    shard::{Assignment, Shard},
};

/// Manages the scrape pools of all jobs.
#[derive(Debug)]
pub struct Manager {
    shared: Shared,
    pools: Vec<Pool>,
    /// `None` until the members of the replica group are known.
    shard: Option<Shard>,
    /// Overrides of the assignment, reported by other receivers.
    overrides: watch::Receiver<Overrides>,
    /// Current owner of each target; `None` if targets may have changed.
    assignment: Option<Arc<Assignment>>,
    status: watch::Sender<Arc<Status>>,
}

/// Validated jobs, ready to be applied.
#[derive(Debug)]
pub struct Prepared(pub(super) Vec<Arc<Job>>);

/// Invalid job.
#[derive(Debug, thiserror::Error)]
#[error("job {job:?}: {source}")]
pub struct JobError {
    pub(crate) job: String,
    source: PrepareError,
}

// === impl Manager ===

impl Manager {
    /// Creates a manager without pools.
    pub fn new(shared: Shared) -> Self {
        let budget = shared.budget.capacity() as i64;
        shared.metrics.budget.set(budget);
        let budget = i64::try_from(shared.series_budget.capacity()).unwrap_or(i64::MAX);
        shared.metrics.series_budget.set(budget);
        Self {
            overrides: shared.ownership.overrides(),
            shared,
            pools: Vec::new(),
            shard: None,
            assignment: None,
            status: watch::Sender::default(),
        }
    }

    /// Subscribes to the status of all targets.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    /// Validates the jobs of a configuration without applying them.
    ///
    /// # Errors
    /// Returns an error if the settings of a job are unusable.
    pub fn prepare(
        &self,
        configs: &[ScrapeConfig],
        context: &Arc<BatchContext>,
    ) -> Result<Prepared, JobError> {
        let previous = self.pools.iter().map(Pool::job);
        let previous: BTreeMap<&str, _> = previous
            .map(|job| (job.config.job_name.as_str(), job))
            .collect();
        let jobs = configs.iter().map(|config| {
            let previous = previous.get(config.job_name.as_str());
            if let Some(job) = previous
                && job.is_unchanged(config, context)
            {
                return Ok(Arc::clone(job));
            }
            let job = Job::new(
                config.clone(),
                context.clone(),
                &self.shared,
                previous.map(|job| &***job),
            );
            job.map(Arc::new).map_err(|source| JobError {
                job: config.job_name.clone(),
                source,
            })
        });
        jobs.collect::<Result<_, _>>().map(Prepared)
    }

    /// Replaces the jobs. As in Prometheus, the targets of a removed job get no staleness
    /// markers.
    pub fn apply(&mut self, prepared: Prepared) {
        let mut previous: BTreeMap<String, Pool> = std::mem::take(&mut self.pools)
            .into_iter()
            .map(|pool| (pool.job().config.job_name.clone(), pool))
            .collect();
        for job in prepared.0 {
            let pool = match previous.remove(&job.config.job_name) {
                // An unchanged job does not disturb its loops.
                Some(pool) if Arc::ptr_eq(pool.job(), &job) => pool,
                Some(mut pool) => {
                    pool.reload(job);
                    pool
                }
                None => Pool::new(job, self.shared.clone()),
            };
            self.pools.push(pool);
        }
        for job in previous.keys() {
            self.shared.metrics.remove_job(job);
        }
        self.assignment = None;
    }

    /// Updates the target groups of all jobs.
    pub fn update_targets(&mut self, jobs: &Jobs) {
        for pool in &mut self.pools {
            let groups = jobs.get(&pool.job().config.job_name);
            // A job that discovery has not reported yet keeps its targets.
            if let Some(groups) = groups {
                pool.update_groups(groups);
            }
        }
        self.assignment = None;
    }

    /// Updates the members that share the targets.
    ///
    /// This receiver scrapes a target that it gains once no other receiver scrapes it. It
    /// scrapes a target that it loses until the new owner claims it.
    pub fn update_shard(&mut self, shard: Shard) {
        if self.shard.as_ref() == Some(&shard) {
            return;
        }
        let others = shard.others().map(|name| name.to_string());
        self.shared.ownership.set_members(others.collect());
        if shard.me().is_none() {
            warn!("Not a member of the replica group, so this receiver owns no targets");
        }
        self.shard = Some(shard);
    }

    /// Waits until the overrides change. [`Manager::sync`] has to be called then.
    pub async fn overrides_changed(&mut self) {
        if self.overrides.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Starts and stops scrape loops to match the targets of this receiver.
    ///
    /// It has to be called after each of the updates above.
    pub fn sync(&mut self) {
        let Some(assignment) = self.assign() else {
            return;
        };
        let retained = self.overrides.borrow_and_update().retained.clone();
        let is_here = |target| assignment.owns(target) || retained.contains(&target);
        let pools = self.pools.iter_mut();
        let jobs = pools.map(|pool| pool.sync(is_here)).collect();
        let status = Arc::new(Status { jobs });
        self.shared.endings.set_status(status.clone());
        self.status.send_replace(status);
    }

    /// Computes the owner of each target. Returns `None` until the members are known.
    fn assign(&mut self) -> Option<Arc<Assignment>> {
        let shard = self.shard.as_ref()?;
        let shard = shard.without(&self.overrides.borrow().leaving);
        match &self.assignment {
            Some(known) if *known.shard() == shard => return self.assignment.clone(),
            Some(_) => {}
            None => self.pools.iter_mut().for_each(Pool::populate),
        }
        let targets: BTreeSet<u64> = self.pools.iter().flat_map(Pool::targets).collect();
        let assignment = Arc::new(Assignment::new(shard, &targets));
        self.shared.metrics.set_assignment(&assignment);
        self.shared.ownership.set_assignment(assignment.clone());
        self.assignment = Some(assignment.clone());
        Some(assignment)
    }
}
