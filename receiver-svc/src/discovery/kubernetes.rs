//! `kubernetes_sd_configs`: targets from the objects of a cluster.
//!
//! A watch fills a store with the part of its objects that labels need, and runs
//! once for all jobs that follow it. A [`Discoverer`] follows the objects of its
//! role and those that label their targets, and makes the target groups of what
//! has changed, by functions of nothing but those objects.
//!
//! ```text
//! watch: pods ─▶ store ─┐
//! watch: nodes ─▶ store ┼─ changed ─▶ Discoverer ─ target groups ─▶ Groups
//! watch: … ─▶ store ────┘
//! ```

mod behind;
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

use mesh::{
    config::discovery::{KubernetesConfig, KubernetesRole},
    kubernetes::{ApiServer, ClientError},
};
use tokio::{sync::Notify, time::sleep};
use tracing::warn;

use super::Groups;
use cluster::{Cluster, Followed};

pub(super) use cluster::Clusters;
pub use metrics::KubernetesMetrics;
pub use related::{Changes, Related};
pub use role::{Discover, Discoverer, Role};
pub use store::{Follower, Store};
pub use watches::{Scope, Watches, discoverers};

/// Changes that come within this time are worked on together. Little beside the
/// time between two publications.
const TOGETHER: Duration = Duration::from_millis(50);

/// One configuration that is discovered.
pub(super) struct Kubernetes {
    discoverers: Vec<Box<dyn Discover>>,
    changed: Arc<Notify>,
    /// Held so that other mechanisms find its watches.
    cluster: Arc<Cluster>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Begins to watch what the configuration needs, or joins who does. With
    /// `node`, only targets on that node are discovered.
    pub(super) async fn new(
        config: &KubernetesConfig,
        clusters: &Clusters,
        node: Option<&str>,
    ) -> Result<Self, ClientError> {
        let cluster = clusters.cluster(api_server(config)).await?;
        let changed = Arc::default();
        let followed = Followed {
            cluster: &cluster,
            notify: &changed,
        };
        let nowhere = matches!(
            config.role,
            KubernetesRole::Service | KubernetesRole::Ingress
        );
        let discoverers = if node.is_some() && nowhere {
            let role = config.role.as_str();
            warn!(role, "Targets of this role are on no node, none is scraped");
            Vec::new()
        } else {
            discoverers(&followed, config, cluster.own_namespace(), node)
        };
        Ok(Self {
            discoverers,
            changed,
            cluster,
        })
    }

    /// Tells the target groups that change, for ever. While the API server cannot
    /// be reached those known last stay. A namespace that cannot be watched does not
    /// keep others back.
    pub(super) async fn run(self, groups: Groups) {
        loop {
            let mut complete = true;
            for discoverer in &self.discoverers {
                match discoverer.update() {
                    Some(changed) => groups.learn(changed),
                    None => complete = false,
                }
                if let Some(failure) = discoverer.failure() {
                    groups.failed(failure);
                }
            }
            if complete {
                groups.told();
            }
            self.changed.notified().await;
            sleep(TOGETHER).await;
        }
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
        (Some(url), _) => ApiServer::At {
            url: url.clone(),
            http: Box::new(config.http.clone()),
        },
        (None, Some(path)) => ApiServer::Kubeconfig(path.clone()),
        (None, None) => ApiServer::Own,
    }
}

#[cfg(test)]
mod tests;
