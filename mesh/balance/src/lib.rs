//! Sends Exports to the exporters, each to the one that is likely to be quickest.
//!
//! Every discovered address has a connection that is kept up in the background
//! (`connection`); an Export picks two of those that are up at random and takes
//! the one with less load (`pick`). An exporter that dies is out at once, one
//! that hangs after two missed pings, one that fails again and again for a while.
//! Where none is up an Export waits a moment and is then given back unsent.
//!
//! tonic's own balanced channels are no base for this: their connections report
//! ready when connecting has failed, so dead exporters are picked.

mod client;
mod connection;
mod endpoint;
mod failure;
mod metrics;
mod pick;
mod tls;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tower::Service;

use mesh_contract::{
    export::{Export, ExportError},
    verdict::Verdict,
};
use mesh_net::connector::Connector;
use mesh_net::endpoints::{Addresses, Endpoints};
use mesh_wire::compression::Compression;

pub use metrics::BalanceMetrics;
pub use tls::ExporterTlsArgs;

use connection::KeepUp;
use endpoint::Endpoint;

/// How exporters are reached, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct ExporterArgs {
    /// Where the exporters are: HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or
    /// k8s:///NAMESPACE/SERVICE:PORT.
    #[arg(long = "exporter.endpoints", env = "PROMESH_EXPORTER_ENDPOINTS")]
    pub endpoints: Endpoints,

    /// Compression of requests to exporters.
    #[arg(
        long = "exporter.compression",
        env = "PROMESH_EXPORTER_COMPRESSION",
        default_value = "zstd"
    )]
    pub compression: Compression,

    /// Milliseconds between two pings of an idle or silent connection; a ping that
    /// is not answered in as long again ends the connection. 0 sends none.
    #[arg(
        long = "exporter.ping-interval-ms",
        env = "PROMESH_EXPORTER_PING_INTERVAL_MS",
        default_value_t = 800
    )]
    pub ping_interval_ms: u64,

    /// Milliseconds a request waits for an exporter where none is reachable.
    #[arg(
        long = "exporter.failfast-ms",
        env = "PROMESH_EXPORTER_FAILFAST_MS",
        default_value_t = 1000
    )]
    pub failfast_ms: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the help of the group"
    )]
    pub tls: ExporterTlsArgs,
}

/// A tower service that sends Exports. Cheap to clone; the connections end with
/// its last clone.
#[derive(Clone, Debug)]
pub struct Balance {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    /// Notified when a connection comes up, so that who waits looks again.
    came_up: Arc<Notify>,
    connector: Connector,
    compression: Compression,
    ping_interval: Option<Duration>,
    failfast: Duration,
    metrics: BalanceMetrics,
    discovery: Mutex<Option<AbortHandle>>,
}

// === impl Balance ===

impl Balance {
    /// Balances over `addresses`, connecting through `connector`.
    pub fn new(
        args: &ExporterArgs,
        mut addresses: Addresses,
        connector: Connector,
        metrics: BalanceMetrics,
    ) -> Self {
        let ping = Duration::from_millis(args.ping_interval_ms);
        let shared = Arc::new(Shared {
            endpoints: Mutex::default(),
            came_up: Arc::default(),
            connector,
            compression: args.compression,
            ping_interval: Some(ping).filter(|ping| !ping.is_zero()),
            failfast: Duration::from_millis(args.failfast_ms),
            metrics,
            discovery: Mutex::default(),
        });
        if let Some(known) = addresses.borrow_and_update().as_ref() {
            shared.update(known);
        }
        let follow = follow(Arc::downgrade(&shared), addresses);
        let task = tokio::spawn(follow).abort_handle();
        *lock(&shared.discovery) = Some(task);
        Self { shared }
    }

    /// Whether any exporter is reachable now.
    pub fn is_connected(&self) -> bool {
        lock(&self.shared.endpoints)
            .iter()
            .any(|endpoint| endpoint.is_up())
    }
}

impl Service<Export> for Balance {
    type Response = Verdict;
    type Error = ExportError;
    type Future = BoxFuture<'static, Result<Verdict, ExportError>>;

    /// Always ready: an Export waits in `call`, where its deadline is known.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ExportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, export: Export) -> Self::Future {
        let shared = self.shared.clone();
        async move { shared.export(export).await }.boxed()
    }
}

// === impl Shared ===

impl Shared {
    async fn export(&self, export: Export) -> Result<Verdict, ExportError> {
        let (endpoint, connection) = self.pick(export.deadline).await?;
        let in_flight = endpoint.begin();
        let outcome = client::send(connection, endpoint.uri(), export, self.compression).await;
        in_flight.end(&outcome);
        self.metrics.observe(&outcome);
        outcome
    }

    /// Picks an exporter; waits a moment where none is up.
    async fn pick(
        &self,
        deadline: Instant,
    ) -> Result<(Arc<Endpoint>, connection::Connection), ExportError> {
        let give_up = deadline.min(Instant::now() + self.failfast);
        loop {
            // Before the look: a connection may come up right after it.
            let came_up = self.came_up.notified();
            let endpoints = lock(&self.endpoints).clone();
            if let Some(picked) = pick::pick(&endpoints) {
                return Ok(picked);
            }
            if timeout_at(give_up, came_up).await.is_err() {
                self.metrics.unsent();
                return Err(ExportError::Unsent(unreachable(&endpoints).into()));
            }
        }
    }

    /// Makes the endpoints those of `addresses`; unchanged ones keep their
    /// connections, and requests in flight to removed ones are finished.
    fn update(self: &Arc<Self>, addresses: &BTreeSet<String>) {
        let mut endpoints = lock(&self.endpoints);
        endpoints.retain(|endpoint| addresses.contains(endpoint.address()));
        for address in addresses {
            if !endpoints.iter().any(|e| e.address() == address) {
                endpoints.push(Endpoint::connect(KeepUp {
                    address: address.clone(),
                    connector: self.connector.clone(),
                    ping_interval: self.ping_interval,
                    came_up: self.came_up.clone(),
                    metrics: self.metrics.clone(),
                }));
            }
        }
        self.metrics.known(endpoints.len());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.discovery).take() {
            task.abort();
        }
    }
}

async fn follow(shared: std::sync::Weak<Shared>, mut addresses: Addresses) {
    // The sender of a fixed list is gone from the start.
    while addresses.changed().await.is_ok() {
        let now = addresses.borrow_and_update().clone();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let Some(now) = now {
            shared.update(&now);
        }
    }
}

fn unreachable(endpoints: &[Arc<Endpoint>]) -> String {
    match endpoints {
        [] => "no exporter is known".to_owned(),
        [only] => format!("exporter {} is not reachable", only.address()),
        many => format!("none of {} exporters is reachable", many.len()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No code that holds one of these locks can leave its state half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
