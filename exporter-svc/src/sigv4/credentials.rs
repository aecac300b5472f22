//! AWS credentials that a background task refreshes before they expire.
//!
//! A provider may need the network, so requests never wait for one. They use
//! [`CredentialsCache::current`], which the task keeps up to date.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use mesh_base::backoff::Backoff;
use mesh_net::describe;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::metrics::DestinationLabels;

/// Cached credentials of one destination.
#[derive(Debug)]
pub struct CredentialsCache {
    current: watch::Receiver<Current>,
    refreshes: mpsc::Sender<RefreshRequest>,
}

/// Request for a refresh after a rejected signature.
#[derive(Debug)]
struct RefreshRequest {
    /// Access key ID of the rejected signature.
    key: String,
    done: oneshot::Sender<()>,
}

/// Current credentials, or the reason why there are none.
type Current = Result<Credentials, String>;

/// Metric families of all destinations' credentials.
#[derive(Clone, Debug, Default)]
pub struct CredentialsFamilies {
    expiry: Family<DestinationLabels, Gauge<f64, AtomicU64>>,
    failing: Family<DestinationLabels, Gauge>,
    failures: Family<DestinationLabels, Counter>,
}

/// Metrics of one destination's credentials.
#[derive(Clone, Debug)]
pub struct CredentialsMetrics {
    /// Expiry in seconds since the Unix epoch.
    expiry: Gauge<f64, AtomicU64>,
    /// 1 if the last refresh failed, otherwise 0.
    failing: Gauge,
    failures: Counter,
}

/// Task that refreshes the credentials.
#[derive(Debug)]
struct RefreshTask {
    provider: SharedCredentialsProvider,
    current: watch::Sender<Current>,
    metrics: CredentialsMetrics,
    backoff: Backoff,
    /// Time of the last refresh after a rejected signature.
    last_requested: Option<Instant>,
}

/// Time before the expiry at which credentials are refreshed.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_secs(300);
/// Refresh interval of credentials without expiry. They can be rotated at their source.
const STATIC_REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// Initial and maximum backoff after a failed refresh.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Minimum interval of refreshes after rejected signatures. It is shorter than the
/// longest post backoff. So if a key is revoked before its successor exists, every
/// later post triggers a refresh.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a provider, which may be a chain of several.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);

// === impl CredentialsCache ===

impl CredentialsCache {
    /// Fetches the credentials once, then refreshes them in the background until the
    /// cache is dropped.
    pub async fn start(provider: SharedCredentialsProvider, metrics: CredentialsMetrics) -> Self {
        let (sender, current) = watch::channel(Err("not fetched yet".to_owned()));
        let (refreshes, requests) = mpsc::channel(1);
        let mut task = RefreshTask {
            provider,
            current: sender,
            metrics,
            backoff: Backoff::with_bounds(MIN_BACKOFF, MAX_BACKOFF),
            last_requested: None,
        };
        let pause = task.refresh().await;
        tokio::spawn(task.run(pause, requests));
        Self { current, refreshes }
    }

    /// Returns the current credentials.
    ///
    /// # Errors
    /// Returns the reason if no credentials have been fetched yet.
    pub fn current(&self) -> Result<Credentials, String> {
        self.current.borrow().clone()
    }

    /// Refreshes the credentials after the backend rejected a signature by `key`, and
    /// waits for the result.
    ///
    /// Does nothing if `key` is outdated, or if such a refresh happened a moment ago.
    /// If the credentials lack a permission, every request is rejected, and the source
    /// must not be queried for each.
    pub async fn refresh(&self, key: &str) {
        let (done, refreshed) = oneshot::channel();
        let key = key.to_owned();
        if self
            .refreshes
            .send(RefreshRequest { key, done })
            .await
            .is_ok()
        {
            // The task may have ended.
            let _ = refreshed.await;
        }
    }
}

// === impl RefreshTask ===

impl RefreshTask {
    async fn run(mut self, pause: Duration, mut requests: mpsc::Receiver<RefreshRequest>) {
        let mut due = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => due = Instant::now() + self.refresh().await,
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if self.is_needed(&request) {
                        self.last_requested = Some(Instant::now());
                        due = Instant::now() + self.refresh().await;
                    }
                    // The receiver may be gone.
                    let _ = request.done.send(());
                }
            }
        }
    }

    fn is_needed(&self, request: &RefreshRequest) -> bool {
        let current = self.current.borrow();
        let is_current = |current: &Credentials| current.access_key_id() == request.key;
        let too_soon = self
            .last_requested
            .is_some_and(|at| at.elapsed() < MIN_REFRESH_INTERVAL);
        current.as_ref().is_ok_and(is_current) && !too_soon
    }

    /// Queries the provider and returns the time until the next refresh.
    async fn refresh(&mut self) -> Duration {
        let fetch = self.provider.provide_credentials();
        let problem = match tokio::time::timeout(PROVIDER_TIMEOUT, fetch).await {
            Ok(Ok(credentials)) => return self.store(credentials),
            // The provider's own message lacks the cause; its sources have it.
            Ok(Err(error)) => describe(&error),
            Err(_) => "timeout of the credentials provider".to_owned(),
        };
        self.metrics.failures.inc();
        self.metrics.failing.set(1);
        warn!(error = %problem, "Refresh of AWS credentials failed");
        self.current.send_if_modified(|current| match current {
            // The existing credentials may still be valid for a while.
            Ok(_) => false,
            Err(old) => {
                *old = problem;
                true
            }
        });
        self.backoff.bound()
    }

    fn store(&mut self, credentials: Credentials) -> Duration {
        self.metrics.failing.set(0);
        self.backoff.reset();
        let expiry = credentials.expiry();
        let since_epoch = expiry.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let at = since_epoch.map_or(f64::INFINITY, |since| since.as_secs_f64());
        self.metrics.expiry.set(at);
        let remaining = expiry.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        info!(
            key = credentials.access_key_id(),
            ?remaining,
            "AWS credentials refreshed"
        );
        self.current
            .send_modify(|current| *current = Ok(credentials));
        remaining.map_or(STATIC_REFRESH_INTERVAL, |remaining| {
            remaining
                .saturating_sub(REFRESH_BEFORE_EXPIRY)
                .max(remaining / 2)
                .max(MIN_BACKOFF)
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
            "Expiry of the AWS credentials as Unix time; +Inf if they do not expire",
            Unit::Seconds,
            families.expiry.clone(),
        );
        registry.register(
            "credentials_failing",
            "1 if the last refresh of the AWS credentials failed, otherwise 0",
            families.failing.clone(),
        );
        registry.register(
            "credentials_failures",
            "Failed refreshes of the AWS credentials",
            families.failures.clone(),
        );
        families
    }

    /// Metrics of the destination with this name.
    pub fn for_destination(&self, destination: &str) -> CredentialsMetrics {
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use aws_credential_types::provider::{
        error::CredentialsError, future::ProvideCredentials as ProvideCredentialsFuture,
    };
    use parking_lot::Mutex;

    use super::*;

    /// Provider that returns KEY1, KEY2, … with a lifetime, or fails on demand.
    #[derive(Clone, Debug, Default)]
    struct Source {
        fetches: Arc<AtomicUsize>,
        life: Option<Duration>,
        fails: Arc<Mutex<bool>>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> ProvideCredentialsFuture<'a>
        where
            Self: 'a,
        {
            let n = self.fetches.fetch_add(1, Ordering::Relaxed) + 1;
            if *self.fails.lock() {
                let error = CredentialsError::provider_error("the source is down");
                return ProvideCredentialsFuture::ready(Err(error));
            }
            let expiry = self.life.map(|life| SystemTime::now() + life);
            let credentials = Credentials::new(format!("KEY{n}"), "secret", None, expiry, "test");
            ProvideCredentialsFuture::ready(Ok(credentials))
        }
    }

    impl Source {
        async fn cache(&self) -> CredentialsCache {
            let metrics = CredentialsFamilies::default().for_destination("test");
            CredentialsCache::start(SharedCredentialsProvider::new(self.clone()), metrics).await
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Ordering::Relaxed)
        }
    }

    fn key(cache: &CredentialsCache) -> String {
        cache.current().unwrap().access_key_id().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn refreshes_before_the_expiry() {
        let life = Some(Duration::from_secs(3600));
        let source = Source {
            life,
            ..Default::default()
        };
        let cache = source.cache().await;
        assert_eq!(key(&cache), "KEY1");
        tokio::time::sleep(Duration::from_secs(3600 - 310)).await;
        assert_eq!(source.fetches(), 1);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(key(&cache), "KEY2");
    }

    #[tokio::test(start_paused = true)]
    async fn refreshes_short_lived_credentials_at_half_life() {
        let life = Some(Duration::from_secs(200));
        let source = Source {
            life,
            ..Default::default()
        };
        let _cache = source.cache().await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!((8..=12).contains(&source.fetches()), "{}", source.fetches());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_refresh_keeps_the_credentials() {
        let source = Source::default();
        let cache = source.cache().await;
        *source.fails.lock() = true;
        cache.refresh("KEY1").await;
        assert_eq!((key(&cache).as_str(), source.fetches()), ("KEY1", 2));
        *source.fails.lock() = false;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(key(&cache), "KEY3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_signature_refreshes_once() {
        let source = Source::default();
        let cache = source.cache().await;
        cache.refresh("KEY1").await;
        assert_eq!(key(&cache), "KEY2");
        // This request used the old credentials.
        cache.refresh("KEY1").await;
        // The credentials were not the reason.
        cache.refresh("KEY2").await;
        assert_eq!((key(&cache).as_str(), source.fetches()), ("KEY2", 2));
        tokio::time::sleep(MIN_REFRESH_INTERVAL).await;
        cache.refresh("KEY2").await;
        assert_eq!(key(&cache), "KEY3");
    }

    #[tokio::test(start_paused = true)]
    async fn returns_the_error_until_a_refresh_succeeds() {
        let source = Source::default();
        *source.fails.lock() = true;
        let cache = source.cache().await;
        let error = cache.current().unwrap_err();
        assert!(error.contains("the source is down"), "{error}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        // The first retry comes after a second, later ones every half minute at most.
        assert!(
            (20..=26).contains(&source.fetches()),
            "{}",
            source.fetches()
        );
        *source.fails.lock() = false;
        tokio::time::sleep(MAX_BACKOFF).await;
        assert!(cache.current().is_ok());
    }
}
