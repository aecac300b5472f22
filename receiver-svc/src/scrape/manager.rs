//! All scrape pools: what the configuration, discovery and the shard come to.
//!
//! Loops run as tasks of their own and end with the manager, without a word to
//! anyone: a process that stops leaves no staleness markers behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh::{batch::Facts, config::scrape::ScrapeConfig};
use tokio::sync::watch;
use tracing::warn;

use super::{
    job::{Job, Shared, Unprepared},
    pool::Pool,
    status::Status,
};
use crate::{
    discovery::Jobs,
    handover::Standing,
    shard::{Assignment, Shard},
};

/// All scrape pools.
#[derive(Debug)]
pub struct Manager {
    shared: Shared,
    pools: Vec<Pool>,
    /// `None` until the members of the replica group are known.
    shard: Option<Shard>,
    /// What others have said of what is scraped here.
    standing: watch::Receiver<Standing>,
    /// Whose the targets are; `None` where these may have changed.
    assignment: Option<Arc<Assignment>>,
    status: watch::Sender<Arc<Status>>,
}

/// Jobs that can be scraped.
#[derive(Debug)]
pub struct Prepared(pub(super) Vec<Arc<Job>>);

/// A job that cannot be scraped.
#[derive(Debug, thiserror::Error)]
#[error("job {job:?}: {source}")]
pub struct JobError {
    job: String,
    source: Unprepared,
}

// === impl Manager ===

impl Manager {
    /// No pools yet.
    pub fn new(shared: Shared) -> Self {
        let budget = shared.budget.bytes() as i64;
        shared.metrics.budget.set(budget);
        Self {
            standing: shared.handover.standing(),
            shared,
            pools: Vec::new(),
            shard: None,
            assignment: None,
            status: watch::Sender::default(),
        }
    }

    /// What is known of all targets, whenever they have changed.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.subscribe()
    }

    /// Gets ready to scrape these jobs. Nothing changes yet.
    ///
    /// # Errors
    /// Where one of them cannot be scraped.
    pub fn prepare(
        &self,
        configs: &[ScrapeConfig],
        facts: &Arc<Facts>,
    ) -> Result<Prepared, JobError> {
        let jobs = configs.iter().map(|config| {
            let before = self.pools.iter().map(Pool::job);
            let before = before
                .into_iter()
                .find(|job| job.config.job_name == config.job_name);
            let job = Job::new(
                config.clone(),
                facts.clone(),
                &self.shared,
                before.map(|job| &**job),
            );
            job.map(Arc::new).map_err(|source| JobError {
                job: config.job_name.clone(),
                source,
            })
        });
        jobs.collect::<Result<_, _>>().map(Prepared)
    }

    /// Scrapes these jobs from now on, and no others. The targets of a job that is
    /// no longer there get no markers, as in Prometheus.
    pub fn apply(&mut self, prepared: Prepared) {
        let mut before: BTreeMap<String, Pool> = std::mem::take(&mut self.pools)
            .into_iter()
            .map(|pool| (pool.job().config.job_name.clone(), pool))
            .collect();
        for job in prepared.0 {
            let pool = match before.remove(&job.config.job_name) {
                Some(mut pool) => {
                    pool.follow(job);
                    pool
                }
                None => Pool::new(job, self.shared.clone()),
            };
            self.pools.push(pool);
        }
        for job in before.keys() {
            self.shared.metrics.forget(job);
        }
        self.assignment = None;
    }

    /// Takes up what discovery knows now.
    pub fn discovered(&mut self, jobs: &Jobs) {
        for pool in &mut self.pools {
            let groups = jobs.get(&pool.job().config.job_name);
            // A job that discovery has not told of yet keeps what it has.
            if let Some(groups) = groups {
                pool.discovered(groups);
            }
        }
        self.assignment = None;
    }

    /// Takes up who shares the targets now. What becomes this receiver's own is scraped
    /// once no other does, what becomes another's until that one claims it.
    pub fn share(&mut self, shard: Shard) {
        if self.shard.as_ref() == Some(&shard) {
            return;
        }
        self.shared.handover.follow(shard.others());
        if shard.me().is_none() {
            warn!("Not among the members of the replica group, targets are left to others");
        }
        self.shard = Some(shard);
    }

    /// Waits until others say something for which [`Manager::sync`] has to be called.
    pub async fn told(&mut self) {
        if self.standing.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Makes the loops those of the targets that are to be scraped here. To be called
    /// after any of the changes above.
    pub fn sync(&mut self) {
        let Some(assignment) = self.assign() else {
            return;
        };
        let kept = self.standing.borrow_and_update().kept.clone();
        let is_here = |target| assignment.owns(target) || kept.contains(&target);
        let pools = self.pools.iter_mut();
        let jobs = pools.map(|pool| pool.sync(is_here)).collect();
        self.status.send_replace(Arc::new(Status { jobs }));
    }

    /// Whose the targets are now; `None` until the members are known.
    fn assign(&mut self) -> Option<Arc<Assignment>> {
        let shard = self.shard.as_ref()?;
        let shard = shard.without(&self.standing.borrow().parted);
        match &self.assignment {
            Some(known) if *known.shard() == shard => return self.assignment.clone(),
            Some(_) => {}
            None => self.pools.iter_mut().for_each(Pool::populate),
        }
        let targets: BTreeSet<u64> = self.pools.iter().flat_map(Pool::targets).collect();
        let assignment = Arc::new(Assignment::new(shard, &targets));
        self.shared.metrics.shared(&assignment);
        self.shared.handover.assign(assignment.clone());
        self.assignment = Some(assignment.clone());
        Some(assignment)
    }
}
