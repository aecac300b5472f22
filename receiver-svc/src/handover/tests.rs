//! Handover between several receivers in one process. The clock is paused and advances only
//! when every task waits for it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_base::clock::Clock;
use mesh_contract::{
    batch::Batch,
    export::{Export, ExportError},
    report::ExportResponse,
};
use mesh_net::{connector::Connector, server::Peer};
use mesh_outbox::{Outbox, OutboxArgs, Workers};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{state::STARTUP_HOLD, *};
use crate::ownership::Claim;

mod backlog;
mod claims;
mod crash;
mod disk;
mod retained;
mod shutdown;

const START_MS: i64 = 1_800_000_000_000;
const TARGET: u64 = 7;
const TIMEOUT: Duration = Duration::from_secs(10);
const AWAY_TIMEOUT: Duration = Duration::from_secs(60);

/// Network between receivers: the listener at each address.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<String, Listener>>>);

/// Server of one receiver. Its connections end when it is dropped.
struct Listener {
    server: HandoverServer,
    /// Time before each response.
    delay: Duration,
    connections: JoinSet<()>,
}

/// Receiver without scrape loops: the test scrapes the claimed targets itself.
struct Receiver {
    handover: Handover,
    outbox: Outbox,
    exports: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<Bytes>>>,
    unready: watch::Sender<Option<BTreeSet<String>>>,
    net: Net,
    name: String,
    poller: JoinHandle<()>,
    workers: Workers,
}

// === impl Net ===

impl Net {
    fn connector(&self) -> Connector {
        let net = self.clone();
        Connector::new(move |address| {
            let mut listeners = net.0.lock();
            let connected = listeners.get_mut(&address).map(Listener::accept);
            async { connected.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()) }
        })
    }

    /// Starts a reachable receiver beside these members.
    fn start(&self, name: &str, others: &[&str]) -> Receiver {
        self.start_beside_unready(&[], name, others)
    }

    /// Starts a receiver while these others are not ready.
    fn start_beside_unready(&self, unready: &[&str], name: &str, others: &[&str]) -> Receiver {
        self.start_with(&OutboxArgs::default(), unready, name, others)
    }

    /// Starts a receiver that spills to `dir` after three seconds.
    fn start_spilling(&self, dir: &TempDir, name: &str, others: &[&str]) -> Receiver {
        self.start_with(&spilling(dir), &[], name, others)
    }

    fn start_with(
        &self,
        limits: &OutboxArgs,
        unready: &[&str],
        name: &str,
        others: &[&str],
    ) -> Receiver {
        let clock = Clock::tokio(START_MS);
        let exports = Arc::new(Semaphore::new(1));
        let stored = Arc::default();
        let (outbox, workers) = Outbox::sharing_keys(
            limits,
            clock.clone(),
            backend(exports.clone(), Arc::clone(&stored)),
        );
        let unready = watch::Sender::new(Some(names(unready)));
        let options = Options {
            name: name.to_owned(),
            members_are_ready: true,
            unready: unready.subscribe(),
            timeout: TIMEOUT,
            away_timeout: AWAY_TIMEOUT,
            connector: self.connector(),
            access: Access {
                has_certificates: true,
                ..Access::default()
            },
        };
        let metrics = HandoverMetrics::default();
        let (handover, poller) = Handover::new(options, clock, outbox.clone(), metrics);
        let listener = Listener {
            server: handover.server(),
            delay: Duration::ZERO,
            connections: JoinSet::new(),
        };
        self.0.lock().insert(name.to_owned(), listener);
        let receiver = Receiver {
            handover,
            outbox,
            exports,
            stored,
            unready,
            net: self.clone(),
            name: name.to_owned(),
            poller: tokio::spawn(poller.run()),
            workers,
        };
        receiver.set_members(others);
        receiver
    }
}

// === impl Listener ===

impl Listener {
    fn accept(&mut self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (handover, delay) = (self.server.clone(), self.delay);
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let caller = Peer(([127, 0, 0, 1], 1).into());
            request.extensions_mut().insert(caller);
            let handover = handover.clone();
            async move {
                sleep(delay).await;
                Ok::<_, Infallible>(handover.respond(request).await)
            }
        });
        self.connections.spawn(async move {
            let connection = http2::Builder::new(TokioExecutor::new());
            let server = TokioIo::new(server);
            let _ = connection.serve_connection(server, service).await;
        });
        client
    }
}

/// Limits of an outbox that spills to `dir` after three seconds.
fn spilling(dir: &TempDir) -> OutboxArgs {
    let mut limits = OutboxArgs::default();
    limits.spill.spill_dir = Some(dir.path().to_owned());
    limits.spill.spill_after = Duration::from_secs(3);
    limits
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn backend(
    exports: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<Bytes>>>,
) -> impl tower::Service<Export, Response = ExportResponse, Error = ExportError, Future: Send> + Clone
{
    tower::service_fn(move |export: Export| {
        let (exports, stored) = (exports.clone(), stored.clone());
        async move {
            let Ok(_open) = exports.acquire().await else {
                return Err(ExportError::Unsent("away".into()));
            };
            stored.lock().push(export.payload);
            Ok(ExportResponse::default())
        }
    })
}

// === impl Receiver ===

impl Receiver {
    fn set_members(&self, others: &[&str]) {
        self.handover.set_members(names(others));
    }

    fn set_unready(&self, others: &[&str]) {
        self.unready.send_replace(Some(names(others)));
    }

    fn claim(&self, target: u64) -> Claim {
        Claim::new(Arc::new(self.handover.clone()), target, "j")
    }

    /// Pushes a batch and records its scrape, at this time after the start.
    fn scrape(&self, claim: &Claim, after_ms: i64) {
        self.push(after_ms);
        claim.record_scrape(ScrapeRecord {
            time_ms: START_MS + after_ms,
            is_up: true,
        });
    }

    fn push(&self, after_ms: i64) {
        let batch = Batch {
            key: TARGET,
            payload: Bytes::from(format!("{after_ms},")),
            samples: 1,
            time_ms: START_MS + after_ms,
            context: Arc::default(),
        };
        self.outbox.push(batch).unwrap();
    }

    fn stored(&self) -> String {
        String::from_utf8(self.stored.lock().concat()).unwrap()
    }

    /// Blocks all exports until the permit is dropped.
    async fn block_exports(&self) -> tokio::sync::OwnedSemaphorePermit {
        let exports = self.exports.clone();
        exports.acquire_owned().await.unwrap()
    }

    /// Kills the receiver.
    fn kill(self) {
        self.net.0.lock().remove(&self.name);
        self.poller.abort();
        drop(self.workers);
    }
}

/// Waits for the grant. Returns the claim and the time of the last scrape.
async fn granted(mut claim: Claim) -> (Claim, Option<i64>) {
    let last = timeout(Duration::from_secs(60), claim.granted()).await;
    let last = last.expect("granted within a minute");
    (claim, last.map(|last| last.time_ms))
}

async fn is_granted(claim: &mut Claim) -> bool {
    timeout(Duration::from_secs(20), claim.granted())
        .await
        .is_ok()
}
