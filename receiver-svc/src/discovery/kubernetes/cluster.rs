//! The clusters that are watched, and their watches: each runs once, whichever
//! jobs follow it.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use kube::Client;
use mesh::kubernetes::{ApiServer, ClientError};
use tokio::sync::Notify;

use super::{
    metrics::KubernetesMetrics,
    objects::Object,
    store::Follower,
    watch::Watch,
    watches::{Scope, Watches},
};

/// All clusters that somebody watches.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    known: Mutex<Vec<Weak<Cluster>>>,
    metrics: KubernetesMetrics,
}

/// One API server, reached in one way. Lives as long as somebody holds it.
pub(super) struct Cluster {
    server: ApiServer,
    client: Client,
    /// Those that run, each a [`Watch`] of the type that is its key.
    watches: Mutex<HashMap<(TypeId, Scope), Weak<dyn Any + Send + Sync>>>,
    metrics: KubernetesMetrics,
}

/// A cluster in the hands of a mechanism that is to be told of changes.
#[derive(Debug)]
pub(super) struct Followed<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) notify: &'a Arc<Notify>,
}

// === impl Clusters ===

impl Clusters {
    pub(crate) fn new(metrics: KubernetesMetrics) -> Self {
        Self {
            known: Mutex::default(),
            metrics,
        }
    }

    /// The cluster that is watched already, or a new one.
    pub(super) async fn cluster(&self, server: ApiServer) -> Result<Arc<Cluster>, ClientError> {
        let known = self.known().iter().find_map(|cluster| {
            let cluster = cluster.upgrade()?;
            (cluster.server == server).then_some(cluster)
        });
        if let Some(cluster) = known {
            return Ok(cluster);
        }
        let cluster = Arc::new(Cluster {
            client: server.client().await?,
            server,
            watches: Mutex::default(),
            metrics: self.metrics.clone(),
        });
        let mut known = self.known();
        known.retain(|cluster| cluster.strong_count() > 0);
        known.push(Arc::downgrade(&cluster));
        Ok(cluster)
    }

    fn known(&self) -> MutexGuard<'_, Vec<Weak<Cluster>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Cluster ===

impl Cluster {
    /// This pod's namespace, where the cluster is its own.
    pub(super) fn own_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// The watch of a scope that runs already, or a new one.
    fn watch<K: Object>(&self, scope: Scope) -> Arc<Watch<K>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
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

// === impl Followed ===

impl Watches for Followed<'_> {
    fn follow<K: Object>(&self, scope: Scope) -> Follower<K> {
        let watch = self.cluster.watch::<K>(scope);
        Follower::watching(watch.store.clone(), self.notify.clone(), Some(watch))
    }
}
