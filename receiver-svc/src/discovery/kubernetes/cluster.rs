//! The watched clusters and their watches. Mechanisms share a watch if they need the
//! same objects.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use kube::Client;
use mesh_kubernetes::{ApiServer, ClientError};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    metrics::KubernetesMetrics,
    objects::Object,
    store::Subscriber,
    watch::Watch,
    watches::{Scope, Watches},
};

/// Registry of the clusters in use.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    clusters: Mutex<Vec<Weak<Cluster>>>,
    metrics: KubernetesMetrics,
}

/// One API server with its connection settings. Lives as long as a mechanism holds
/// it.
pub(crate) struct Cluster {
    server: ApiServer,
    client: Client,
    /// Running watches. Each value is a [`Watch`] of the object type in its key.
    watches: Mutex<HashMap<(TypeId, Scope), Weak<dyn Any + Send + Sync>>>,
    metrics: KubernetesMetrics,
}

/// Watches of a cluster whose changes notify one mechanism.
#[derive(Debug)]
pub(crate) struct ClusterWatches<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) notify: &'a Arc<Notify>,
}

// === impl Clusters ===

impl Clusters {
    pub(crate) fn new(metrics: KubernetesMetrics) -> Self {
        Self {
            clusters: Mutex::default(),
            metrics,
        }
    }

    /// Returns the cluster in use for this API server, or a new one.
    ///
    /// # Errors
    /// Returns an error if the client for a new cluster cannot be built.
    pub(crate) async fn cluster(&self, server: ApiServer) -> Result<Arc<Cluster>, ClientError> {
        if let Some(cluster) = Self::known(&self.clusters(), &server) {
            return Ok(cluster);
        }
        let client = server.client().await?;
        let mut clusters = self.clusters();
        // Another mechanism may have created it in the meantime.
        if let Some(cluster) = Self::known(&clusters, &server) {
            return Ok(cluster);
        }
        let cluster = Arc::new(Cluster {
            client,
            server,
            watches: Mutex::default(),
            metrics: self.metrics.clone(),
        });
        clusters.retain(|cluster| cluster.strong_count() > 0);
        clusters.push(Arc::downgrade(&cluster));
        Ok(cluster)
    }

    fn known(clusters: &[Weak<Cluster>], server: &ApiServer) -> Option<Arc<Cluster>> {
        let mut clusters = clusters.iter().filter_map(Weak::upgrade);
        clusters.find(|cluster| cluster.server == *server)
    }

    fn clusters(&self) -> MutexGuard<'_, Vec<Weak<Cluster>>> {
        self.clusters.lock()
    }
}

// === impl Cluster ===

impl Cluster {
    /// Returns the client of the API server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the namespace of this pod, if it runs in the cluster.
    pub(super) fn own_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Returns the running watch of a scope, or starts one.
    fn watch<K: Object>(&self, scope: Scope) -> Arc<Watch<K>> {
        let mut watches = self.watches.lock();
        let id = (TypeId::of::<K>(), scope);
        let running = watches.get(&id).and_then(Weak::upgrade);
        if let Some(watch) = running.and_then(|watch| watch.downcast().ok()) {
            return watch;
        }
        let (client, scope) = (self.client.clone(), id.1.clone());
        let watch: Arc<Watch<K>> = Arc::new(Watch::start(client, scope, &self.metrics));
        let entry: Arc<dyn Any + Send + Sync> = watch.clone();
        watches.retain(|_, watch| watch.strong_count() > 0);
        watches.insert(id, Arc::downgrade(&entry));
        watch
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

// === impl ClusterWatches ===

impl Watches for ClusterWatches<'_> {
    fn subscribe<K: Object>(&self, scope: Scope) -> Subscriber<K> {
        let watch = self.cluster.watch::<K>(scope);
        Subscriber::with_watch(watch.store.clone(), self.notify.clone(), Some(watch))
    }
}
