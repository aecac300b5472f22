//! A stand-in for a Kubernetes API server: LIST with pages, WATCH with bookmarks, label and
//! field selectors, and failures on demand.
//!
//! An object is any JSON that a test applies; its kind selects the resource. Objects survive
//! a stop of the server, as if etcd stored them, and a test can change them meanwhile. A
//! watch from a compacted resource version fails with 410 Gone.

mod http;
mod objects;
mod selector;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use objects::Objects;

/// A running API server. Dropping it stops the server.
#[derive(Debug)]
pub struct KubeApi {
    address: SocketAddr,
    cluster: Cluster,
    server: Option<AbortOnDropHandle<()>>,
}

/// State of the cluster, shared by all requests.
#[derive(Clone, Debug)]
struct Cluster(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Resource version of the latest change. Watches wait for it to grow.
    version: watch::Sender<u64>,
    /// Incremented to cut off all open watches.
    connections: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    forbidden: BTreeSet<String>,
    /// Status codes of the next requests, last one first.
    failures: Vec<u16>,
    gone: Gone,
    list_counts: BTreeMap<String, usize>,
    open_watches: BTreeMap<String, usize>,
    requests: Vec<String>,
    authorizations: BTreeSet<String>,
    metadata_only: BTreeSet<String>,
}

/// Form in which a watch from a compacted resource version receives 410 Gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// An `ERROR` event of the watch.
    #[default]
    Event,
    /// The status code of the response.
    Status,
}

/// Builds an `EndpointSlice` of a service with these ready addresses and without ports.
pub fn endpoint_slice(
    namespace: &str,
    service: &str,
    ready: impl IntoIterator<Item = impl Serialize>,
) -> Value {
    let ready = ready.into_iter();
    let endpoints: Vec<_> = ready.map(|ip| json!({"addresses": [ip]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints,
        "ports": [],
    })
}

/// Adds addresses that are not ready to an `EndpointSlice`.
pub fn with_unready(mut slice: Value, unready: impl IntoIterator<Item = impl Serialize>) -> Value {
    let unready = unready.into_iter();
    let unready = unready.map(|ip| json!({"addresses": [ip], "conditions": {"ready": false}}));
    if let Some(endpoints) = slice["endpoints"].as_array_mut() {
        endpoints.extend(unready);
    }
    slice
}

// === impl KubeApi ===

impl KubeApi {
    /// Starts a server without objects on a free loopback port.
    ///
    /// # Errors
    /// Returns an error if the server cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster(Arc::new(Shared {
            state: Mutex::default(),
            version: watch::Sender::new(1),
            connections: watch::Sender::new(0),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, cluster.clone()));
        Ok(Self {
            address,
            cluster,
            server: Some(AbortOnDropHandle::new(server)),
        })
    }

    /// Base URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig for this server into a folder and returns its path.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write_kubeconfig(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url()}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "test"}}],
        });
        std::fs::write(&path, text.to_string())?;
        Ok(path)
    }

    /// Creates an object, or replaces the object of the same name.
    ///
    /// # Panics
    /// Panics if the stand-in does not support the object's kind.
    pub fn apply(&self, object: Value) {
        let version = self.cluster.state().objects.apply(object);
        self.cluster.0.version.send_replace(version);
    }

    /// Deletes an object of a resource such as `pods`.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let version = self
            .cluster
            .state()
            .objects
            .delete(resource, namespace, name);
        self.cluster.0.version.send_replace(version);
    }

    /// Answers every request for a resource with 403 from now on.
    pub fn forbid(&self, resource: &str) {
        self.cluster.state().forbidden.insert(resource.to_owned());
    }

    /// Ends the effect of [`forbid`](Self::forbid) on a resource.
    pub fn allow(&self, resource: &str) {
        self.cluster.state().forbidden.remove(resource);
    }

    /// Answers the next requests with these status codes, one each.
    pub fn fail_next(&self, statuses: &[u16]) {
        self.cluster.state().failures.extend(statuses.iter().rev());
    }

    /// Breaks the connections of all open watches in the middle of a chunk.
    pub fn drop_connections(&self) {
        self.cluster
            .0
            .connections
            .send_modify(|number| *number += 1);
    }

    /// Drops the history of changes, as a compaction of etcd does. A watch from an earlier
    /// version then fails as `gone` says.
    pub fn compact(&self, gone: Gone) {
        let mut state = self.cluster.state();
        state.objects.compact();
        state.gone = gone;
    }

    /// Stops the server at once and breaks its connections.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // The port is free once the task has ended.
            let _ = server.await;
        }
    }

    /// Starts the server again on the same address.
    ///
    /// # Errors
    /// Returns an error if the server cannot listen there.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.with_context(|| self.address.to_string())?;
        let server = tokio::spawn(serve(listener, self.cluster.clone()));
        self.server = Some(AbortOnDropHandle::new(server));
        Ok(())
    }

    /// Number of open watches of a resource.
    pub fn open_watches(&self, resource: &str) -> usize {
        let state = self.cluster.state();
        state
            .open_watches
            .get(resource)
            .copied()
            .unwrap_or_default()
    }

    /// Number of LIST requests for a resource. All pages of a list count once.
    pub fn list_count(&self, resource: &str) -> usize {
        let state = self.cluster.state();
        state.list_counts.get(resource).copied().unwrap_or_default()
    }

    /// Values of the `Authorization` header in all requests so far.
    pub fn authorizations(&self) -> BTreeSet<String> {
        self.cluster.state().authorizations.clone()
    }

    /// Resources that clients requested as `PartialObjectMetadata`.
    pub fn metadata_only(&self) -> BTreeSet<String> {
        self.cluster.state().metadata_only.clone()
    }

    /// Paths and queries of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.cluster.state().requests.clone()
    }
}

// === impl Cluster ===

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// Serves until the task is aborted, which also breaks all connections.
///
/// [`axum::serve`] would leave open connections running.
async fn serve(listener: TcpListener, cluster: Cluster) {
    let mut connections = JoinSet::new();
    let router = http::router(cluster);
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that disconnects is not an error of the server.
            let _ = connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
}
