//! A stand-in for Amazon Managed Service for Prometheus.
//!
//! It is the judge of every test: it verifies signatures by its own computation,
//! elects replicas and drops the others' data, refuses disorder, fails as it is
//! told to, and writes down every sample that arrives and what became of it. Loss,
//! duplicates and disorder are read from that [`Ledger`], not from status codes.
//!
//! ```text
//! POST remote_write ─▶ fault? ─▶ signature ─▶ decode ─▶ HA ─▶ store ─▶ ledger
//! ```
//!
//! Where it has an [`Upstream`], a real backend answers in its place, and its ledger is
//! of what that one said.

mod decode;
mod faults;
mod ha_tracker;
mod http;
mod intake;
mod ledger;
mod selector;
mod sigv4_check;
mod store;
mod tls;
mod upstream;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mesh::clock::Clock;
use tokio::{net::TcpListener, task::JoinSet};

pub use decode::{Incoming, IncomingSeries, Value};
pub use faults::{Fault, Faults};
pub use ha_tracker::HaTracker;
pub use intake::Intake;
pub use ledger::{Arrival, Ledger, Outcome, Totals};
pub use sigv4_check::{Keys, SignatureError, verify};
pub use store::{Sample, Series, Store};
pub use upstream::{TENANT, Upstream};

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct AmpOptions {
    /// Whom it trusts at first; `None` takes unsigned requests.
    pub keys: Option<Keys>,
    /// How much older than its series' newest a sample may be.
    pub out_of_order_window: Duration,
    /// How old a sample may be.
    pub max_sample_age: Duration,
    /// Series it stores at most.
    pub max_series: usize,
    /// Arrivals the ledger remembers one by one; later ones are only counted.
    pub max_arrivals: usize,
    /// What time it is.
    pub clock: Clock,
    /// A real backend that answers in the stand-in's place.
    pub upstream: Option<Upstream>,
    /// Takes requests in the place of the store and the ledger.
    pub intake: Option<Arc<dyn Intake>>,
}

/// A running stand-in. It stops when it is dropped.
#[derive(Debug)]
pub struct Amp {
    http: SocketAddr,
    https: SocketAddr,
    ca_pem: String,
    backend: Backend,
    _tasks: JoinSet<()>,
}

/// The stand-in without its ports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backend {
    options: Arc<AmpOptions>,
    state: Arc<Mutex<State>>,
    faults: Faults,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) keys: Option<Keys>,
    pub(crate) ha: HaTracker,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    /// Where the real backend answered something else than the stand-in would have.
    pub(crate) disagreements: Vec<String>,
}

/// Path below which the stand-in's one workspace is.
pub const WORKSPACE: &str = "/workspaces/ws-00000000-0000-4000-8000-000000000000";

// === impl AmpOptions ===

impl Default for AmpOptions {
    fn default() -> Self {
        Self {
            keys: Some(Keys::example()),
            out_of_order_window: Duration::ZERO,
            max_sample_age: Duration::from_secs(3600),
            max_series: 10_000_000,
            max_arrivals: 5_000_000,
            clock: Clock::system(),
            upstream: None,
            intake: None,
        }
    }
}

// === impl Amp ===

impl Amp {
    /// Starts a stand-in on loopback ports of its own, one for http and one for
    /// https.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(options: AmpOptions) -> anyhow::Result<Self> {
        let backend = Backend::new(options);
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let https = TcpListener::bind("127.0.0.1:0").await?;
        let (http_address, https_address) = (http.local_addr()?, https.local_addr()?);
        let (acceptor, ca_pem) = tls::acceptor()?;
        let router = backend.router();
        let mut tasks = JoinSet::new();
        let plain = router.clone();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(http, plain).await {
                tracing::error!(%error, "Stand-in stopped");
            }
        });
        tasks.spawn(tls::serve(https, acceptor, router));
        Ok(Self {
            http: http_address,
            https: https_address,
            ca_pem,
            backend,
            _tasks: tasks,
        })
    }

    /// Where it takes http.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Where remote write is posted, over http.
    pub fn remote_write_url(&self) -> String {
        format!("http://{}{WORKSPACE}/api/v1/remote_write", self.http)
    }

    /// Where remote write is posted, over https.
    pub fn secure_remote_write_url(&self) -> String {
        format!(
            "https://localhost:{}{WORKSPACE}/api/v1/remote_write",
            self.https.port()
        )
    }

    /// The workspace's pages: queries, the ledger and the faults.
    pub fn url(&self) -> String {
        format!("http://{}{WORKSPACE}", self.http)
    }

    /// The authority that signed the https port's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The stand-in behind the ports.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }
}

// === impl Backend ===

impl Backend {
    /// A stand-in without ports.
    pub fn new(options: AmpOptions) -> Self {
        let state = State {
            keys: options.keys.clone(),
            ha: HaTracker::default(),
            store: Store::new(&options),
            ledger: Ledger::new(options.max_arrivals),
            disagreements: Vec::new(),
        };
        Self {
            options: Arc::new(options),
            state: Arc::new(Mutex::new(state)),
            faults: Faults::default(),
        }
    }

    /// Its endpoints.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// What goes wrong next.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Trusts these keys, and no others, from now on.
    pub fn rotate(&self, keys: Keys) {
        self.state().keys = Some(keys);
    }

    /// What has arrived so far, in sum.
    pub fn totals(&self) -> Totals {
        self.state().ledger.totals()
    }

    /// What has arrived so far, one by one.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state().ledger.arrivals().to_vec()
    }

    /// Reads what has arrived so far without a copy.
    pub fn read<T>(&self, read: impl FnOnce(&[Arrival]) -> T) -> T {
        read(self.state().ledger.arrivals())
    }

    /// The stored series that a selector such as `up{job="x"}` matches.
    ///
    /// # Errors
    /// Where the selector is not understood.
    pub fn select(&self, selector: &str) -> anyhow::Result<Vec<Series>> {
        let selector = selector::Selector::parse(selector)?;
        Ok(self.state().store.select(|labels| selector.matches(labels)))
    }

    /// How often a cluster's elected replica has changed.
    pub fn elections(&self) -> u64 {
        self.state().ha.elections()
    }

    /// All stored series.
    pub fn stored(&self) -> Vec<Series> {
        self.state().store.select(|_| true)
    }

    /// Where the real backend answered something else than the stand-in would have.
    pub fn disagreements(&self) -> Vec<String> {
        self.state().disagreements.clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
