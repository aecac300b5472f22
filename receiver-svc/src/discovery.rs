//! Service discovery: finds the targets of each scrape job.
//!
//! Each discovery mechanism runs as a task and writes its target groups to a
//! [`TargetGroups`] handle. Mechanisms with equal settings run once, however many
//! jobs use them. The publisher merges the groups per job and publishes them: the first
//! change at once, and further ones at growing intervals of up to five seconds, as
//! Prometheus does.
//!
//! A job that gets a new mechanism keeps its targets until the new one has
//! reported its own, for [`RECONFIGURE_GRACE`] at most.
//!
//! ```text
//! file_sd    ─▶ TargetGroups ─┐
//! http_sd    ─▶ TargetGroups ─┼─ changed ─▶ publish ─▶ watch: job ─▶ target groups
//! kubernetes ─▶ TargetGroups ─┤
//! static     ─▶ TargetGroups ─┘
//! ```

mod aws;
mod by_config;
mod dns;
mod ec2;
mod ecs;
mod file;
mod http;
pub mod kubernetes;
mod metrics;
mod msk;
mod target_groups;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Display,
    sync::Arc,
    time::Duration,
};

use mesh_base::backoff::Backoff;
use mesh_model::config::{
    discovery::{DiscoveryConfig, TargetGroup},
    scrape::ScrapeConfig,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use by_config::ByConfig;
use kubernetes::{Clusters, Kubernetes};

pub(crate) use file::target_files;
pub use metrics::DiscoveryMetrics;
pub use target_groups::TargetGroups;

/// Default for the time between two publications while targets change all the time.
pub const UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// Time between the publication of a first change and the next one.
///
/// One change of an object reaches the mechanisms of several jobs a few milliseconds apart.
/// All these jobs have to see it at once.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum time for which a reconfigured job keeps its previous targets.
///
/// They stay until all new mechanisms have reported their groups. Targets that
/// disappeared in between would get staleness markers.
pub const RECONFIGURE_GRACE: Duration = Duration::from_secs(30);

/// Default for the maximum size of a target file or an HTTP target list: 512 MiB. A million
/// targets with ten labels each take about 300 MB.
pub const MAX_LIST_BYTES: usize = 512 << 20;

/// The target groups of each job, by job name.
pub type Jobs = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// Runs the discovery mechanisms of a configuration.
#[derive(Debug)]
pub struct Discovery {
    mechanisms: Vec<Mechanism>,
    clusters: Arc<Clusters>,
    /// Restricts Kubernetes targets to those on this node.
    node: Option<String>,
    /// Maximum size of a target file or an HTTP target list.
    max_list_bytes: usize,
    shared: Arc<Shared>,
    _publisher: AbortOnDropHandle<()>,
}

/// Error that prevents a configuration from being applied.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A Prometheus mechanism that promesh does not support.
    #[error(
        "job {job:?}: {mechanism} is not supported, use http_sd_configs or file_sd_configs with an adapter that writes its targets"
    )]
    Unsupported {
        /// Name of the job.
        job: String,
        /// Configuration key of the mechanism, such as `consul_sd_configs`.
        mechanism: String,
    },
    /// A mechanism could not be started.
    #[error("job {job:?}: {source}")]
    Start {
        /// Name of the job.
        job: String,
        /// Reason for the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DiscoveryError {
    /// Returns the name of the job that cannot run.
    pub(crate) fn job(&self) -> &str {
        match self {
            Self::Unsupported { job, .. } | Self::Start { job, .. } => job,
        }
    }
}

/// A running discovery mechanism.
#[derive(Debug)]
struct Mechanism {
    config: DiscoveryConfig,
    jobs: HashSet<String>,
    input: Input,
    task: Option<Task>,
}

/// Task of a mechanism. Aborted once no configuration uses it.
type Task = Arc<AbortOnDropHandle<()>>;

#[derive(Debug)]
struct Shared {
    /// Notified when the groups of a mechanism have changed.
    changed: Arc<Notify>,
    inputs: watch::Sender<Inputs>,
    published: watch::Sender<Arc<Jobs>>,
    metrics: DiscoveryMetrics,
}

/// Target groups that the publisher merges.
#[derive(Debug)]
struct Inputs {
    /// The mechanisms of each job.
    jobs: Vec<(String, Vec<Input>)>,
    /// End of the [`RECONFIGURE_GRACE`] period.
    grace_until: Instant,
}

/// Target groups of one mechanism.
#[derive(Clone, Debug)]
struct Input {
    groups: TargetGroups,
    /// True if the mechanism ran already when the configuration was applied.
    continues: bool,
}

/// Failures of discovery. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Failures(Arc<Shared>);

// === impl Discovery ===

impl Discovery {
    /// Starts discovery without mechanisms. Publishes once per `update_interval` while
    /// targets change all the time, and sooner after a pause.
    pub fn new(metrics: DiscoveryMetrics, update_interval: Duration) -> Self {
        let clusters = Arc::new(Clusters::new(metrics.kubernetes.clone()));
        metrics.set_max_list_bytes(MAX_LIST_BYTES);
        let shared = Arc::new(Shared {
            changed: Arc::default(),
            inputs: watch::Sender::new(Inputs {
                jobs: Vec::new(),
                grace_until: Instant::now(),
            }),
            published: watch::Sender::default(),
            metrics,
        });
        let publisher = tokio::spawn(publish(shared.clone(), update_interval));
        Self {
            mechanisms: Vec::new(),
            clusters,
            node: None,
            max_list_bytes: MAX_LIST_BYTES,
            shared,
            _publisher: AbortOnDropHandle::new(publisher),
        }
    }

    /// Restricts Kubernetes discovery to targets on `node`, if given.
    pub fn on_node(mut self, node: Option<String>) -> Self {
        self.node = node;
        self
    }

    /// Sets the maximum size of a target file or an HTTP target list.
    pub fn with_max_list_bytes(mut self, bytes: usize) -> Self {
        self.shared.metrics.set_max_list_bytes(bytes);
        self.max_list_bytes = bytes;
        self
    }

    /// Returns the clusters that are watched, so that others share the watches.
    pub(crate) fn clusters(&self) -> Arc<Clusters> {
        self.clusters.clone()
    }

    /// Returns the failures of the mechanisms, now and later.
    pub fn failures(&self) -> Failures {
        Failures(self.shared.clone())
    }

    /// Returns a receiver for the published target groups of each job.
    pub fn jobs(&self) -> watch::Receiver<Arc<Jobs>> {
        self.shared.published.subscribe()
    }

    /// Runs exactly the mechanisms of these jobs. Mechanisms that already run
    /// continue with their target groups.
    ///
    /// # Errors
    /// Returns an error if a mechanism cannot start; the previous mechanisms then
    /// continue to run.
    pub async fn apply(&mut self, configs: &[ScrapeConfig]) -> Result<(), DiscoveryError> {
        let running = ByConfig::of(&self.mechanisms);
        let mut next: Vec<Mechanism> = Vec::new();
        let mut known = ByConfig::default();
        for scrape in configs {
            let job = &scrape.job_name;
            for config in &scrape.discovery {
                if let Some(i) = known.find(&next, config) {
                    next[i].jobs.insert(job.clone());
                    continue;
                }
                let running = running.find(&self.mechanisms, config);
                let running = running.map(|i| &self.mechanisms[i]);
                known.insert(config, next.len());
                next.push(self.mechanism(job, config, running).await?);
            }
        }
        let mut of_job: HashMap<&str, Vec<Input>> = HashMap::new();
        for mechanism in &next {
            for job in &mechanism.jobs {
                let inputs = of_job.entry(job).or_default();
                inputs.push(mechanism.input.clone());
            }
        }
        let jobs = configs.iter().map(|scrape| {
            let inputs = of_job.remove(scrape.job_name.as_str());
            (scrape.job_name.clone(), inputs.unwrap_or_default())
        });
        self.shared.inputs.send_replace(Inputs {
            jobs: jobs.collect(),
            grace_until: Instant::now() + RECONFIGURE_GRACE,
        });
        self.mechanisms = next;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Waits until every mechanism has completed its first refresh. Returns the
    /// failures.
    pub(crate) async fn first_refresh(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for mechanism in &self.mechanisms {
            failures.extend(mechanism.input.groups.first_refresh().await.err());
        }
        failures
    }

    /// Returns the current target groups of each job, published or not.
    pub(crate) fn current(&self) -> Jobs {
        self.shared.inputs.borrow().merge(&Jobs::new())
    }

    /// Continues the running mechanism with these settings, or starts a new one.
    async fn mechanism(
        &self,
        job: &str,
        config: &DiscoveryConfig,
        running: Option<&Mechanism>,
    ) -> Result<Mechanism, DiscoveryError> {
        let (groups, task) = match running {
            Some(running) => (running.input.groups.clone(), running.task.clone()),
            None => {
                let groups = TargetGroups::new(self.shared.changed.clone());
                let task = self.start(job, config, groups.clone()).await?;
                (groups, task)
            }
        };
        Ok(Mechanism {
            config: config.clone(),
            jobs: HashSet::from([job.to_owned()]),
            input: Input {
                groups,
                continues: running.is_some(),
            },
            task,
        })
    }

    async fn start(
        &self,
        job: &str,
        config: &DiscoveryConfig,
        groups: TargetGroups,
    ) -> Result<Option<Task>, DiscoveryError> {
        let metrics = self.shared.metrics.clone();
        let failed = |source| DiscoveryError::Start {
            job: job.to_owned(),
            source,
        };
        let task = match config.clone() {
            DiscoveryConfig::Static(fixed) => {
                groups.replace(fixed);
                return Ok(None);
            }
            DiscoveryConfig::File(config) => {
                tokio::spawn(file::run(config, self.max_list_bytes, groups, metrics))
            }
            DiscoveryConfig::Http(config) => {
                let http =
                    http::Http::new(*config, self.max_list_bytes).map_err(|e| failed(e.into()))?;
                tokio::spawn(http.run(groups, metrics))
            }
            DiscoveryConfig::Dns(config) => tokio::spawn(dns::run(config, groups, metrics)),
            DiscoveryConfig::Kubernetes(config) => {
                let node = self.node.as_deref();
                match Kubernetes::new(&config, &self.clusters, node).await {
                    Ok(kubernetes) => tokio::spawn(kubernetes.run(groups)),
                    // The reason of the failure may end without a reload.
                    Err(_) => tokio::spawn(kubernetes::run_later(
                        *config,
                        self.clusters.clone(),
                        self.node.clone(),
                        groups,
                        metrics,
                    )),
                }
            }
            DiscoveryConfig::Ec2(config) => {
                let ec2 = ec2::Ec2::new(*config).map_err(|e| failed(e.into()))?;
                tokio::spawn(aws::run(ec2, groups, metrics))
            }
            DiscoveryConfig::Ecs(config) => {
                let ecs = ecs::Ecs::new(*config).map_err(|e| failed(e.into()))?;
                tokio::spawn(aws::run(ecs, groups, metrics))
            }
            DiscoveryConfig::Msk(config) => {
                let msk = msk::Msk::new(*config).map_err(|e| failed(e.into()))?;
                tokio::spawn(aws::run(msk, groups, metrics))
            }
            DiscoveryConfig::Unsupported(mechanism) => {
                let job = job.to_owned();
                return Err(DiscoveryError::Unsupported { job, mechanism });
            }
        };
        Ok(Some(Arc::new(AbortOnDropHandle::new(task))))
    }
}

// === impl Inputs ===

impl Inputs {
    /// Merges the current groups of each job.
    ///
    /// During the grace period, a job keeps its `last` groups until all its mechanisms have
    /// refreshed. If a new mechanism has failed, the job keeps them beside the current groups.
    fn merge(&self, last: &Jobs) -> Jobs {
        let in_grace = Instant::now() < self.grace_until;
        let jobs = self.jobs.iter().map(|(job, inputs)| {
            let groups = || inputs.iter().flat_map(|input| input.groups.all());
            let last = last.get(job).filter(|_| in_grace);
            let merged = match last {
                Some(last) if inputs.iter().any(Input::is_pending) => last.clone(),
                Some(last) if inputs.iter().any(Input::has_failed_to_start) => {
                    let mut merged: Vec<_> = groups().collect();
                    let sources: HashSet<_> = merged.iter().map(|g| g.source.clone()).collect();
                    let kept = last.iter().filter(|group| !sources.contains(&group.source));
                    merged.extend(kept.cloned());
                    merged
                }
                _ => groups().collect(),
            };
            (job.clone(), merged)
        });
        jobs.collect()
    }
}

// === impl Input ===

impl Input {
    fn is_pending(&self) -> bool {
        !self.groups.is_synced() && !self.groups.has_refreshed()
    }

    fn has_failed_to_start(&self) -> bool {
        !self.groups.is_synced() && !self.continues
    }
}

// === impl Failures ===

impl Failures {
    /// Returns the failures of each job that has any.
    pub fn by_job(&self) -> HashMap<String, Vec<String>> {
        let inputs = self.0.inputs.borrow();
        let jobs = inputs.jobs.iter().filter_map(|(job, inputs)| {
            let failures = inputs.iter().filter_map(|input| input.groups.failure());
            let failures: Vec<_> = failures.collect();
            (!failures.is_empty()).then(|| (job.clone(), failures))
        });
        jobs.collect()
    }
}

/// Publishes the merged target groups whenever they change.
async fn publish(shared: Arc<Shared>, update_interval: Duration) {
    let min_interval = MIN_UPDATE_INTERVAL.min(update_interval);
    let mut interval = Backoff::with_bounds(min_interval, update_interval);
    let mut last_published = Instant::now();
    loop {
        let waits_since = Instant::now();
        let grace_until = shared.inputs.borrow().grace_until;
        tokio::select! {
            biased;
            () = shared.changed.notified() => {}
            () = sleep_until(grace_until), if Instant::now() < grace_until => {}
        }
        let last = shared.published.borrow().clone();
        let jobs = shared.inputs.borrow().merge(&last);
        // A new mechanism can report groups before `apply` assigns it to a job. Skip
        // the empty publication, or the first targets would wait for the interval.
        if jobs.is_empty() && last.is_empty() {
            continue;
        }
        let paused = waits_since.elapsed() >= min_interval;
        if paused && last_published.elapsed() >= update_interval {
            interval.reset();
        }
        shared.metrics.observe(&jobs);
        shared.published.send_replace(Arc::new(jobs));
        last_published = Instant::now();
        sleep(interval.bound()).await;
    }
}

/// Returns an interval that ticks at once and then every `every`. Skips the ticks
/// that a slow refresh missed.
fn refresh(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Joins a host and a port into an address, with brackets around an IPv6 host.
fn host_and_port(host: &str, port: impl Display) -> String {
    if host.contains([':', '%']) {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;
