//! Follows the monitors of the cluster.

use std::{sync::Arc, time::Duration};

use kube::Client;
use mesh_model::config::duration;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    args::MonitorArgs,
    collect::{Collected, Collector, Objects},
    materials::Cached,
    status::MonitorStatus,
    watched::Watched,
};
use crate::discovery::kubernetes::{ClusterWatches, Clusters, KubernetesMetrics};

/// Time to wait for more changes after a first one.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// Minimum time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which Secrets and ConfigMaps are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// Minimum time between two reads after a 401 or a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Scrape configurations of the cluster's monitors, followed by a task.
#[derive(Debug)]
pub(crate) struct Following {
    /// The latest scrape configurations. Empty until all monitors are known.
    pub(crate) collected: watch::Receiver<Arc<Collected>>,
    _task: AbortOnDropHandle<()>,
}

/// Task that follows monitors.
struct Task {
    args: MonitorArgs,
    unauthorized: Arc<Notify>,
    status: MonitorStatus,
    sender: watch::Sender<Arc<Collected>>,
    collector: Collector,
    materials: Cached,
    /// Time at which materials are read again.
    refresh_at: Instant,
    /// Time of the last read.
    read_at: Instant,
    /// A target has answered 401 since the last read.
    is_unauthorized: bool,
    /// Delay before the next read after a 401. Grows while reading again does not help.
    delay: Duration,
}

// === impl Following ===

impl Following {
    /// Starts to follow the monitors. `unauthorized` is notified when a target refuses
    /// credentials.
    pub(crate) fn start(
        args: MonitorArgs,
        clusters: Arc<Clusters>,
        unauthorized: Arc<Notify>,
        status: MonitorStatus,
    ) -> Self {
        let (sender, collected) = watch::channel(Arc::default());
        let task = Task {
            args,
            unauthorized,
            status,
            sender,
            collector: Collector::default(),
            materials: Cached::new(),
            refresh_at: Instant::now() + REFRESH,
            read_at: Instant::now(),
            is_unauthorized: false,
            delay: RETRY,
        };
        Self {
            collected,
            _task: AbortOnDropHandle::new(tokio::spawn(task.run(clusters))),
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self, clusters: Arc<Clusters>) {
        let cluster = loop {
            match clusters.cluster(self.args.api_server()).await {
                Ok(cluster) => break cluster,
                Err(error) => {
                    warn!(%error, "Monitors cannot be followed, trying again");
                    self.status.set_failures(vec![error.to_string()]);
                    sleep(RETRY).await;
                }
            }
        };
        let changed = Arc::new(Notify::new());
        let watched = Watched::new(
            &ClusterWatches {
                cluster: &cluster,
                notify: &changed,
            },
            &self.args,
        );
        loop {
            tokio::select! {
                () = changed.notified() => sleep(DEBOUNCE).await,
                () = sleep_until(self.refresh_at) => self.refresh(cluster.client()).await,
                () = self.unauthorized.notified() => {
                    self.is_unauthorized = true;
                    self.refresh_at = self.refresh_at.min(self.read_at + self.delay);
                    continue;
                }
            }
            if watched.is_known() {
                let updated_at = Instant::now();
                self.update(&watched, cluster.client()).await;
                sleep_until(updated_at + UPDATE_INTERVAL).await;
            }
        }
    }

    /// Reads all known materials again.
    async fn refresh(&mut self, client: &Client) {
        self.read_at = Instant::now();
        let references = self.materials.all();
        let read = self.materials.read(client, references).await;
        let was_unauthorized = std::mem::take(&mut self.is_unauthorized);
        self.delay = if was_unauthorized && !read.has_changed {
            (self.delay * 2).min(REFRESH)
        } else {
            RETRY
        };
        self.refresh_at = Instant::now() + if read.is_away { RETRY } else { REFRESH };
    }

    /// Generates the scrape configurations and publishes them if they have changed.
    async fn update(&mut self, watched: &Watched, client: &Client) {
        let mut failures = watched.failures();
        let objects = match watched.objects(&self.args) {
            Ok(objects) => objects,
            Err(failure) => {
                // The last scrape configurations stay.
                failures.push(failure);
                self.status.set_failures(failures);
                return;
            }
        };
        self.status.set_failures(failures);
        let (collector, materials) = (&mut self.collector, &mut self.materials);
        let (collected, is_away) = collect(collector, materials, &objects, client).await;
        if is_away {
            self.refresh_at = Instant::now() + RETRY;
        }
        self.materials.forget_unused();
        if **self.sender.borrow() != collected {
            let monitors = collected.outcomes.len();
            let hash = collected.hash();
            info!(monitors, hash = format!("{hash:012x}"), "Monitors changed");
            let collected = Arc::new(collected);
            self.status.set_collected(collected.clone());
            self.sender.send_replace(collected);
        }
    }
}

/// Generates, reads the materials that were missing, and generates again. Returns true too if
/// the API server was away meanwhile.
async fn collect(
    collector: &mut Collector,
    materials: &mut Cached,
    objects: &Objects,
    client: &Client,
) -> (Collected, bool) {
    let mut is_away = false;
    loop {
        let collected = collector.collect(objects, materials);
        let missing = materials.missing();
        if missing.is_empty() {
            return (collected, is_away);
        }
        is_away |= materials.read(client, missing).await.is_away;
    }
}

/// Lists the monitors of the cluster once. Returns their scrape configurations and the
/// failures of the lists.
///
/// # Errors
/// Returns an error if the API server cannot be reached within `limit`, or if the settings
/// cannot be read.
pub(crate) async fn once(
    args: &MonitorArgs,
    limit: Duration,
) -> Result<(Collected, Vec<String>), String> {
    let clusters = Clusters::new(KubernetesMetrics::default());
    let cluster = clusters.cluster(args.api_server()).await;
    let cluster = cluster.map_err(|error| error.to_string())?;
    let changed = Arc::new(Notify::new());
    let watches = ClusterWatches {
        cluster: &cluster,
        notify: &changed,
    };
    let watched = Watched::new(&watches, args);
    let known = async {
        while !watched.is_known() {
            changed.notified().await;
        }
    };
    timeout(limit, known).await.map_err(|_| {
        let limit = duration::format(limit);
        format!("the API server did not list all monitors within {limit} (--discovery.timeout)")
    })?;
    let objects = watched.objects(args)?;
    let (mut collector, mut materials) = (Collector::default(), Cached::new());
    let (collected, _) = collect(&mut collector, &mut materials, &objects, cluster.client()).await;
    Ok((collected, watched.failures()))
}
