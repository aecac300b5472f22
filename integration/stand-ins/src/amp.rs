//! A stand-in for Amazon Managed Service for Prometheus.
//!
//! Tests use it as the backend. The stand-in verifies signatures with its own code,
//! elects one HA replica and deduplicates the others, rejects samples that are out of
//! order, and fails on demand. It records every sample that arrives, with its outcome, in
//! a [`Ledger`]. Tests read loss, duplicates and disorder from the ledger, not from status
//! codes.
//!
//! ```text
//! POST remote_write ─▶ fault? ─▶ signature ─▶ decode ─▶ HA ─▶ store ─▶ ledger
//! ```
//!
//! With an [`Upstream`], a real backend answers the requests instead. The ledger then
//! records that backend's responses.

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

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mesh_base::clock::Clock;
use parking_lot::{Mutex, MutexGuard};
use tokio::{net::TcpListener, task::JoinSet};

pub use decode::{Incoming, IncomingSeries, Value};
pub use faults::{Fault, Faults};
pub use ha_tracker::HaTracker;
pub use intake::Intake;
pub use ledger::{Arrival, Ledger, Outcome, Totals};
pub use sigv4_check::{Keys, SignatureError, verify};
pub use store::{Sample, Series, Store};
pub use upstream::{TENANT, Upstream};

/// Options of the stand-in.
#[derive(Clone, Debug)]
pub struct AmpOptions {
    /// Keys that requests must be signed with. `None` accepts unsigned requests.
    pub keys: Option<Keys>,
    /// Maximum age of a sample relative to the newest sample of its series.
    pub out_of_order_window: Duration,
    /// Maximum age of a sample relative to the clock.
    pub max_sample_age: Duration,
    /// Maximum number of stored series.
    pub max_series: usize,
    /// Maximum number of arrivals in the ledger. Later ones are only counted.
    pub max_arrivals: usize,
    /// Clock of the backend.
    pub clock: Clock,
    /// Real backend that answers instead of the stand-in.
    pub upstream: Option<Upstream>,
    /// Handler that replaces the store and the ledger.
    pub intake: Option<Arc<dyn Intake>>,
}

/// A running stand-in. Dropping it stops the stand-in.
#[derive(Debug)]
pub struct Amp {
    http: SocketAddr,
    https: SocketAddr,
    ca_pem: String,
    backend: Backend,
    _tasks: JoinSet<()>,
}

/// The stand-in without its listeners. Cheap to clone.
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
    /// Requests for which the real backend's response differs from the stand-in's.
    pub(crate) disagreements: Vec<String>,
}

/// Path prefix of the only workspace.
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
    /// Starts a stand-in on two free loopback ports, one for HTTP and one for HTTPS.
    ///
    /// # Errors
    /// Returns an error if the stand-in cannot listen.
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

    /// Address of the HTTP port.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// URL of the remote-write endpoint, over HTTP.
    pub fn remote_write_url(&self) -> String {
        format!("http://{}{WORKSPACE}/api/v1/remote_write", self.http)
    }

    /// URL of the remote-write endpoint, over HTTPS.
    pub fn secure_remote_write_url(&self) -> String {
        format!(
            "https://localhost:{}{WORKSPACE}/api/v1/remote_write",
            self.https.port()
        )
    }

    /// Base URL of the workspace, with queries, the ledger and the faults.
    pub fn url(&self) -> String {
        format!("http://{}{WORKSPACE}", self.http)
    }

    /// Certificate authority of the HTTPS port, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The backend behind the listeners.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }
}

// === impl Backend ===

impl Backend {
    /// Creates a stand-in without listeners.
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

    /// HTTP routes of the stand-in.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// Faults to inject.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Replaces the trusted keys.
    pub fn rotate(&self, keys: Keys) {
        self.state().keys = Some(keys);
    }

    /// Counts of everything that has arrived so far.
    pub fn totals(&self) -> Totals {
        self.state().ledger.totals()
    }

    /// All samples that have arrived so far, oldest first.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state().ledger.arrivals().to_vec()
    }

    /// Calls `read` with all samples that have arrived so far, without a copy.
    pub fn read<T>(&self, read: impl FnOnce(&[Arrival]) -> T) -> T {
        read(self.state().ledger.arrivals())
    }

    /// Returns the stored series that a selector such as `up{job="x"}` matches.
    ///
    /// # Errors
    /// Returns an error if the selector cannot be parsed.
    pub fn select(&self, selector: &str) -> anyhow::Result<Vec<Series>> {
        let selector = selector::Selector::parse(selector)?;
        Ok(self.state().store.select(|labels| selector.matches(labels)))
    }

    /// Number of elections over all clusters, first ones included.
    pub fn elections(&self) -> u64 {
        self.state().ha.elections()
    }

    /// All stored series.
    pub fn stored(&self) -> Vec<Series> {
        self.state().store.select(|_| true)
    }

    /// Descriptions of requests for which the real backend's response differs from the
    /// stand-in's.
    pub fn disagreements(&self) -> Vec<String> {
        self.state().disagreements.clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
