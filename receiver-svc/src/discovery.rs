//! Discovery: where targets come from.
//!
//! Each mechanism of a configuration runs as a task of its own and tells its
//! target groups to a [`Groups`] handle. Mechanisms with equal settings run once,
//! however many jobs use them. What all of them know is published per job, the
//! first time at once and then at most every five seconds, as Prometheus does. A
//! job that gets another mechanism keeps its targets until that one has told of
//! its own, for [`PATIENCE`] at most.
//!
//! ```text
//! file_sd    ─▶ Groups ─┐
//! http_sd    ─▶ Groups ─┼─ changed ─▶ publish ─▶ watch: job ─▶ target groups
//! kubernetes ─▶ Groups ─┤
//! static     ─▶ Groups ─┘
//! ```

mod dns;
mod ec2;
mod file;
mod groups;
mod http;
pub mod kubernetes;
mod metrics;

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use mesh::config::{
    discovery::{DiscoveryConfig, TargetGroup},
    scrape::ScrapeConfig,
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until},
};

use kubernetes::{Clusters, Kubernetes};

pub(crate) use file::paths as target_files;
pub use groups::Groups;
pub use metrics::DiscoveryMetrics;

/// Two publications are at least this far apart, unless told otherwise.
pub const UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a job that was reconfigured keeps the targets it had while a new
/// mechanism has not told of any yet: were they gone in between, they would get
/// staleness markers.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The target groups of every job.
pub type Jobs = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// Runs the discovery mechanisms of a configuration.
#[derive(Debug)]
pub struct Discovery {
    mechanisms: Vec<Mechanism>,
    clusters: Clusters,
    /// The only node whose Kubernetes targets are discovered.
    node: Option<String>,
    shared: Arc<Shared>,
    publisher: AbortHandle,
}

/// A configuration whose targets cannot be discovered.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A mechanism of Prometheus that promesh does not have.
    #[error(
        "job {job:?}: {mechanism} is not supported, use http_sd_configs or file_sd_configs with an adapter that writes its targets"
    )]
    Unsupported {
        /// The job.
        job: String,
        /// The mechanism's key in the configuration.
        mechanism: String,
    },
    /// A mechanism could not be started.
    #[error("job {job:?}: {source}")]
    Start {
        /// The job.
        job: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One mechanism that runs.
#[derive(Debug)]
struct Mechanism {
    config: DiscoveryConfig,
    jobs: Vec<String>,
    groups: Groups,
    task: Option<Arc<Task>>,
}

/// A task that ends once it is dropped.
#[derive(Debug)]
struct Task(AbortHandle);

#[derive(Debug)]
struct Shared {
    /// Some mechanism's groups have changed.
    changed: Arc<Notify>,
    sources: watch::Sender<Sources>,
    published: watch::Sender<Arc<Jobs>>,
    metrics: DiscoveryMetrics,
}

/// What the mechanisms of a configuration write to.
#[derive(Debug)]
struct Sources {
    /// That of each job.
    jobs: Vec<(String, Vec<Groups>)>,
    /// Until when jobs wait for those who have not told anything.
    patient_until: Instant,
}

// === impl Discovery ===

impl Discovery {
    /// Discovery without any mechanism yet, which publishes once every
    /// `update_interval` at most.
    pub fn new(metrics: DiscoveryMetrics, update_interval: Duration) -> Self {
        let clusters = Clusters::new(metrics.kubernetes.clone());
        let shared = Arc::new(Shared {
            changed: Arc::default(),
            sources: watch::Sender::new(Sources {
                jobs: Vec::new(),
                patient_until: Instant::now(),
            }),
            published: watch::Sender::default(),
            metrics,
        });
        let publisher = tokio::spawn(publish(shared.clone(), update_interval)).abort_handle();
        Self {
            mechanisms: Vec::new(),
            clusters,
            node: None,
            shared,
            publisher,
        }
    }

    /// Of Kubernetes' targets, discovers those on this node only.
    pub fn on_node(mut self, node: Option<String>) -> Self {
        self.node = node;
        self
    }

    /// The target groups of every job, whenever they have changed.
    pub fn jobs(&self) -> watch::Receiver<Arc<Jobs>> {
        self.shared.published.subscribe()
    }

    /// Runs the mechanisms of these jobs and no others. Those that run already go
    /// on, with what they know.
    ///
    /// # Errors
    /// Where a mechanism cannot run; nothing has changed then.
    pub async fn apply(&mut self, configs: &[ScrapeConfig]) -> Result<(), DiscoveryError> {
        let mut next: Vec<Mechanism> = Vec::new();
        for scrape in configs {
            for config in &scrape.discovery {
                match next
                    .iter_mut()
                    .find(|mechanism| mechanism.config == *config)
                {
                    Some(mechanism) => mechanism.jobs.push(scrape.job_name.clone()),
                    None => next.push(self.mechanism(&scrape.job_name, config).await?),
                }
            }
        }
        let jobs = configs.iter().map(|scrape| {
            let of_job = next.iter().filter(|m| m.jobs.contains(&scrape.job_name));
            let groups = of_job.map(|mechanism| mechanism.groups.clone()).collect();
            (scrape.job_name.clone(), groups)
        });
        self.shared.sources.send_replace(Sources {
            jobs: jobs.collect(),
            patient_until: Instant::now() + PATIENCE,
        });
        self.mechanisms = next;
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Waits until every mechanism has looked for targets once, and tells what
    /// failed.
    pub(crate) async fn looked(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for mechanism in &self.mechanisms {
            failures.extend(mechanism.groups.looked().await.err());
        }
        failures
    }

    /// The target groups of every job as they are known now, published or not.
    pub(crate) fn known(&self) -> Jobs {
        self.shared.sources.borrow().known(&Jobs::new())
    }

    /// The mechanism that runs with these settings, or a new one.
    async fn mechanism(
        &self,
        job: &str,
        config: &DiscoveryConfig,
    ) -> Result<Mechanism, DiscoveryError> {
        if let Some(running) = self.mechanisms.iter().find(|m| m.config == *config) {
            return Ok(Mechanism {
                config: config.clone(),
                jobs: vec![job.to_owned()],
                groups: running.groups.clone(),
                task: running.task.clone(),
            });
        }
        let groups = Groups::new(self.shared.changed.clone());
        let task = self.start(job, config, groups.clone()).await?;
        Ok(Mechanism {
            config: config.clone(),
            jobs: vec![job.to_owned()],
            groups,
            task,
        })
    }

    async fn start(
        &self,
        job: &str,
        config: &DiscoveryConfig,
        groups: Groups,
    ) -> Result<Option<Arc<Task>>, DiscoveryError> {
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
            DiscoveryConfig::File(config) => tokio::spawn(file::run(config, groups, metrics)),
            DiscoveryConfig::Http(config) => {
                let http = http::Http::new(*config).map_err(|e| failed(e.into()))?;
                tokio::spawn(http.run(groups, metrics))
            }
            DiscoveryConfig::Dns(config) => tokio::spawn(dns::run(config, groups, metrics)),
            DiscoveryConfig::Kubernetes(config) => {
                let node = self.node.as_deref();
                let kubernetes = Kubernetes::new(&config, &self.clusters, node).await;
                tokio::spawn(kubernetes.map_err(|e| failed(e.into()))?.run(groups))
            }
            DiscoveryConfig::Ec2(config) => {
                let ec2 = ec2::Ec2::new(*config).map_err(|e| failed(e.into()))?;
                tokio::spawn(ec2.run(groups, metrics))
            }
            DiscoveryConfig::Unsupported(mechanism) => {
                let job = job.to_owned();
                return Err(DiscoveryError::Unsupported { job, mechanism });
            }
        };
        Ok(Some(Arc::new(Task(task.abort_handle()))))
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.publisher.abort();
    }
}

// === impl Task ===

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Sources ===

impl Sources {
    /// What all jobs' mechanisms know now, after what was published `last`.
    fn known(&self, last: &Jobs) -> Jobs {
        let patient = Instant::now() < self.patient_until;
        let jobs = self.jobs.iter().map(|(job, groups)| {
            let waits = patient && !groups.iter().all(Groups::have_told);
            let known = match last.get(job) {
                Some(last) if waits => last.clone(),
                _ => groups.iter().flat_map(Groups::all).collect(),
            };
            (job.clone(), known)
        });
        jobs.collect()
    }
}

async fn publish(shared: Arc<Shared>, update_interval: Duration) {
    loop {
        let patient_until = shared.sources.borrow().patient_until;
        tokio::select! {
            biased;
            () = shared.changed.notified() => {}
            () = sleep_until(patient_until), if Instant::now() < patient_until => {}
        }
        let last = shared.published.borrow().clone();
        let jobs = shared.sources.borrow().known(&last);
        // A mechanism has found something before it belongs to a job. The first targets
        // are not to wait for that.
        if jobs.is_empty() && last.is_empty() {
            continue;
        }
        shared.metrics.observe(&jobs);
        shared.published.send_replace(Arc::new(jobs));
        sleep(update_interval).await;
    }
}

/// Ticks at once and then at every interval. A refresh that takes longer is followed
/// by the next one, not by all those that it missed.
fn refresh(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// The address of a host and a port, an IPv6 address in brackets.
fn host_and_port(host: &str, port: impl Display) -> String {
    match host.contains([':', '%']) {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
