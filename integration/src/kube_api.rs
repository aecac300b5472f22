//! A stand-in for a Kubernetes API server: LIST in pages, WATCH with bookmarks,
//! selectors, and what goes wrong with them on demand.
//!
//! Objects are whatever JSON a test applies; their resource follows from their
//! kind. They outlive the server, as those of etcd do, and so do changes made
//! while it is stopped; a watch that asks for what the server has forgotten
//! meanwhile is told so (410).

mod http;
mod objects;
mod selector;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use objects::Objects;

/// An API server that listens. It stops when it is dropped.
#[derive(Debug)]
pub struct KubeApi {
    address: SocketAddr,
    cluster: Cluster,
    server: Option<JoinHandle<()>>,
}

/// What the server knows and how it is to fail.
#[derive(Clone, Debug)]
struct Cluster(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Changes of objects, by their version.
    version: watch::Sender<u64>,
    /// Watches of an earlier number are cut off.
    connections: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    forbidden: BTreeSet<String>,
    /// Statuses of the next requests.
    failures: Vec<u16>,
    gone: Gone,
    lists: BTreeMap<String, usize>,
    watching: BTreeMap<String, usize>,
    requests: Vec<String>,
    authorizations: BTreeSet<String>,
    by_metadata: BTreeSet<String>,
}

/// How a watch is told that its version has been forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// By an event of the watch.
    #[default]
    Event,
    /// By the status of the response.
    Status,
}

/// A service's ready addresses, in a slice without ports.
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

/// The same slice with addresses beside those that are not ready.
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
    /// Starts a server without objects on a loopback port of its own.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster(Arc::new(Shared {
            state: Mutex::default(),
            version: watch::Sender::new(1),
            connections: watch::Sender::new(0),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Some(tokio::spawn(serve(listener, cluster.clone())));
        Ok(Self {
            address,
            cluster,
            server,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig of this server into a folder and returns its path.
    ///
    /// # Errors
    /// Where it cannot be written.
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

    /// Creates an object or puts it in the place of the one of its name.
    ///
    /// # Panics
    /// Where it has no kind that is known here.
    pub fn apply(&self, object: Value) {
        let version = self.cluster.state().objects.apply(object);
        self.cluster.0.version.send_replace(version);
    }

    /// Deletes an object of a resource (`pods`).
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let version = self
            .cluster
            .state()
            .objects
            .delete(resource, namespace, name);
        self.cluster.0.version.send_replace(version);
    }

    /// Refuses a resource (403) from the next request on.
    pub fn forbid(&self, resource: &str) {
        self.cluster.state().forbidden.insert(resource.to_owned());
    }

    /// No longer refuses a resource.
    pub fn allow(&self, resource: &str) {
        self.cluster.state().forbidden.remove(resource);
    }

    /// Answers the next requests with these statuses.
    pub fn fail_next(&self, statuses: &[u16]) {
        self.cluster.state().failures.extend(statuses.iter().rev());
    }

    /// Cuts all watches off in the middle of a chunk.
    pub fn drop_connections(&self) {
        self.cluster
            .0
            .connections
            .send_modify(|number| *number += 1);
    }

    /// Forgets all changes so far, as etcd's compaction does: watches that ask for
    /// them are told so in this way.
    pub fn compact(&self, gone: Gone) {
        let mut state = self.cluster.state();
        state.objects.compact();
        state.gone = gone;
    }

    /// Stops the server at once; its connections break.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // Its port is free again once it has ended.
            let _ = server.await;
        }
    }

    /// Starts a stopped server at its old address.
    ///
    /// # Errors
    /// Where it cannot listen there.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.with_context(|| self.address.to_string())?;
        self.server = Some(tokio::spawn(serve(listener, self.cluster.clone())));
        Ok(())
    }

    /// How many watches of a resource are open.
    pub fn watching(&self, resource: &str) -> usize {
        let state = self.cluster.state();
        state.watching.get(resource).copied().unwrap_or_default()
    }

    /// How often a resource was listed; a list in pages is one.
    pub fn lists(&self, resource: &str) -> usize {
        let state = self.cluster.state();
        state.lists.get(resource).copied().unwrap_or_default()
    }

    /// Who all requests so far said they were.
    pub fn authorizations(&self) -> BTreeSet<String> {
        self.cluster.state().authorizations.clone()
    }

    /// The resources that were asked for by their metadata alone.
    pub fn by_metadata(&self) -> BTreeSet<String> {
        self.cluster.state().by_metadata.clone()
    }

    /// The paths and queries of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.cluster.state().requests.clone()
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

// === impl Cluster ===

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until it is aborted, and then breaks all connections, which
/// [`axum::serve`] would leave to themselves.
async fn serve(listener: TcpListener, cluster: Cluster) {
    let mut connections = JoinSet::new();
    let router = http::router(cluster);
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is none of the server's errors.
            let _ = connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
}
