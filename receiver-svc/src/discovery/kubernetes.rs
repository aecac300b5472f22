//! `kubernetes_sd_configs`: targets from the objects of a Kubernetes cluster.
//!
//! A watch fills a store with objects, reduced to the fields that labels need. All
//! jobs that need the same objects share one watch. A [`Discoverer`] subscribes to
//! the objects of its role and to the related objects that label their targets. It
//! rebuilds the target groups of changed objects, with pure functions of objects.
//!
//! ```text
//! watch: pods ─▶ store ─┐
//! watch: nodes ─▶ store ┼─ changed ─▶ Discoverer ─ target groups ─▶ TargetGroups
//! watch: … ─▶ store ────┘
//! ```

mod backing_pods;
mod cluster;
mod endpoints;
mod endpointslice;
mod ingress;
mod labels;
mod metrics;
mod node;
mod node_local;
pub mod objects;
mod pod;
mod related;
mod role;
mod service;
mod store;
mod watch;
mod watches;

use std::{fmt, sync::Arc, time::Duration};

use mesh_kubernetes::{ApiServer, ClientError};
use mesh_model::config::discovery::{KubernetesConfig, KubernetesRole};
use tokio::{sync::Notify, time::sleep};
use tracing::warn;

use super::{DiscoveryMetrics, TargetGroups};
pub(crate) use cluster::{Cluster, ClusterWatches, Clusters};
pub use metrics::KubernetesMetrics;
pub use related::{Changes, Related};
pub use role::{Discover, Discoverer, Role};
pub use store::{Store, Subscriber};
pub use watches::{Scope, Watches, discoverers};

/// Delay that batches changes: short beside the interval between publications.
const BATCH_DELAY: Duration = Duration::from_millis(50);

/// Interval between attempts to build the API client.
const RETRY: Duration = Duration::from_secs(5);

/// Discovers the targets of one `kubernetes_sd_configs` entry.
pub(super) struct Kubernetes {
    discoverers: Vec<Box<dyn Discover>>,
    changed: Arc<Notify>,
    /// Keeps the cluster alive, so that other mechanisms share its watches.
    cluster: Arc<Cluster>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Starts or joins the watches that the configuration needs. With `node`,
    /// discovers only the targets on that node.
    ///
    /// # Errors
    /// Returns an error if the API client cannot be built.
    pub(super) async fn new(
        config: &KubernetesConfig,
        clusters: &Clusters,
        node: Option<&str>,
    ) -> Result<Self, ClientError> {
        let cluster = clusters.cluster(api_server(config)).await?;
        let changed = Arc::default();
        let watches = ClusterWatches {
            cluster: &cluster,
            notify: &changed,
        };
        let without_node = matches!(
            config.role,
            KubernetesRole::Service | KubernetesRole::Ingress
        );
        let discoverers = if node.is_some() && without_node {
            let role = config.role.as_str();
            warn!(role, "Targets of this role have no node, discovering none");
            Vec::new()
        } else {
            discoverers(&watches, config, cluster.own_namespace(), node)
        };
        Ok(Self {
            discoverers,
            changed,
            cluster,
        })
    }

    /// Updates the target groups until the task is aborted. The last groups stay while
    /// the API server is unreachable. A namespace that cannot be watched does not
    /// delay the others.
    pub(super) async fn run(self, groups: TargetGroups) {
        loop {
            let mut complete = true;
            let mut failure = None;
            for discoverer in &self.discoverers {
                match discoverer.update() {
                    Some(changed) => groups.update(changed),
                    None => complete = false,
                }
                failure = discoverer.failure().or(failure);
            }
            match failure {
                failure if complete => groups.reported(failure),
                Some(failure) => groups.failed(failure),
                None => {}
            }
            self.changed.notified().await;
            sleep(BATCH_DELAY).await;
        }
    }
}

/// Discovers targets once the API client can be built, which needs files or the environment
/// variables of a pod. Tries every [`RETRY`]. Other jobs do not wait for it.
pub(super) async fn run_later(
    config: KubernetesConfig,
    clusters: Arc<Clusters>,
    node: Option<String>,
    groups: TargetGroups,
    metrics: DiscoveryMetrics,
) {
    loop {
        match Kubernetes::new(&config, &clusters, node.as_deref()).await {
            Ok(kubernetes) => return kubernetes.run(groups).await,
            Err(error) => {
                metrics.failed("kubernetes");
                warn!(%error, "Kubernetes discovery cannot start, trying again");
                groups.failed(format!("kubernetes_sd_configs: {error}"));
            }
        }
        sleep(RETRY).await;
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

fn api_server(config: &KubernetesConfig) -> ApiServer {
    match (&config.api_server, &config.kubeconfig_file) {
        (Some(url), _) => ApiServer::Url {
            url: url.clone(),
            http: Box::new(config.http.clone()),
        },
        (None, Some(path)) => ApiServer::Kubeconfig(path.clone()),
        (None, None) => ApiServer::InCluster,
    }
}

#[cfg(test)]
mod tests;
