//! Credentials that are renewed before they expire.
//!
//! The chain of providers may ask the network, so it is never asked on the way of
//! a request: a task renews what [`CredentialsCache::current`] hands out.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::remote_write::metrics::DestinationLabels;

/// The credentials of one destination.
#[derive(Debug)]
pub struct CredentialsCache {
    current: watch::Receiver<Known>,
    refreshes: mpsc::Sender<oneshot::Sender<()>>,
}

/// What is known: credentials, or why there are none.
type Known = Result<Credentials, String>;

/// The families of all destinations' credentials.
#[derive(Clone, Debug, Default)]
pub struct CredentialsFamilies {
    expiry: Family<DestinationLabels, Gauge<f64, AtomicU64>>,
    failing: Family<DestinationLabels, Gauge>,
    failures: Family<DestinationLabels, Counter>,
}

/// What the renewal of one destination's credentials counts.
#[derive(Clone, Debug)]
pub struct CredentialsMetrics {
    /// When they expire, seconds since the Unix epoch.
    expiry: Gauge<f64, AtomicU64>,
    /// 1 while the last attempt to renew them failed.
    failing: Gauge,
    failures: Counter,
}

/// Renews credentials.
#[derive(Debug)]
struct Renewal {
    provider: SharedCredentialsProvider,
    current: watch::Sender<Known>,
    metrics: CredentialsMetrics,
    backoff: Duration,
}

/// How long before they expire credentials are renewed.
const AHEAD: Duration = Duration::from_secs(300);
/// How often credentials that do not expire are looked at again: the profile may
/// have been changed by then.
const UNLIMITED: Duration = Duration::from_secs(3600);
/// The shortest and the longest pause after a failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// What a provider may take. A chain asks several in turn.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);

// === impl CredentialsCache ===

impl CredentialsCache {
    /// Asks `provider` once and goes on renewing in the background, until the
    /// cache is dropped.
    pub async fn start(provider: SharedCredentialsProvider, metrics: CredentialsMetrics) -> Self {
        let (sender, current) = watch::channel(Err("not asked for yet".to_owned()));
        let (refreshes, requests) = mpsc::channel(1);
        let mut renewal = Renewal {
            provider,
            current: sender,
            metrics,
            backoff: MIN_BACKOFF,
        };
        let pause = renewal.renew().await;
        tokio::spawn(renewal.run(pause, requests));
        Self { current, refreshes }
    }

    /// The credentials of now.
    ///
    /// # Errors
    /// Where none could be had yet, with the reason.
    pub fn current(&self) -> Result<Credentials, String> {
        self.current.borrow().clone()
    }

    /// Renews them now, and waits for that.
    pub async fn refresh(&self) {
        let (done, renewed) = oneshot::channel();
        if self.refreshes.send(done).await.is_ok() {
            // Where the task ended there is nobody left to renew anything.
            let _ = renewed.await;
        }
    }
}

// === impl Renewal ===

impl Renewal {
    async fn run(mut self, mut pause: Duration, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = self.renew().await,
                request = requests.recv() => {
                    let Some(done) = request else { return };
                    pause = self.renew().await;
                    // The request that was refused may have run out of time.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Asks the provider and says when to ask again.
    async fn renew(&mut self) -> Duration {
        let asked = self.provider.provide_credentials();
        let problem = match tokio::time::timeout(PROVIDER_TIMEOUT, asked).await {
            Ok(Ok(credentials)) => return self.take(credentials),
            // The provider's own message does not tell why; its sources do.
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer from the provider".to_owned(),
        };
        self.metrics.failures.inc();
        self.metrics.failing.set(1);
        warn!(error = %problem, "Credentials not renewed");
        self.current.send_if_modified(|known| match known {
            // What is there may still be good for a while.
            Ok(_) => false,
            Err(old) => {
                *old = problem;
                true
            }
        });
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        pause
    }

    fn take(&mut self, credentials: Credentials) -> Duration {
        self.metrics.failing.set(0);
        self.backoff = MIN_BACKOFF;
        let expiry = credentials.expiry();
        let since_epoch = expiry.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let at = since_epoch.map_or(f64::INFINITY, |since| since.as_secs_f64());
        self.metrics.expiry.set(at);
        let left = expiry.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        info!(
            key = credentials.access_key_id(),
            ?left,
            "Credentials renewed"
        );
        self.current.send_modify(|known| *known = Ok(credentials));
        left.map_or(UNLIMITED, |left| {
            left.saturating_sub(AHEAD).max(left / 2).max(MIN_BACKOFF)
        })
    }
}

// === impl CredentialsFamilies ===

impl CredentialsFamilies {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Self::default();
        registry.register_with_unit(
            "credentials_expiry_timestamp",
            "When the AWS credentials expire, as Unix time; +Inf where they do not",
            Unit::Seconds,
            families.expiry.clone(),
        );
        registry.register(
            "credentials_failing",
            "Whether the last attempt to renew the AWS credentials failed",
            families.failing.clone(),
        );
        registry.register(
            "credentials_failures",
            "Failed attempts to renew the AWS credentials",
            families.failures.clone(),
        );
        families
    }

    /// The metrics of one destination.
    pub fn of(&self, destination: &str) -> CredentialsMetrics {
        let labels = DestinationLabels {
            destination: destination.to_owned(),
        };
        CredentialsMetrics {
            expiry: self.expiry.get_or_create(&labels).clone(),
            failing: self.failing.get_or_create(&labels).clone(),
            failures: self.failures.get_or_create(&labels).clone(),
        }
    }
}

/// An error and all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
