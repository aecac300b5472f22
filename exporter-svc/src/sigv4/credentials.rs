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
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::remote_write::metrics::DestinationLabels;

/// The credentials of one destination.
#[derive(Debug)]
pub struct CredentialsCache {
    current: watch::Receiver<Known>,
    refreshes: mpsc::Sender<Refusal>,
}

/// The backend refused a signature.
#[derive(Debug)]
struct Refusal {
    /// The access key it was made with.
    key: String,
    done: oneshot::Sender<()>,
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
    /// When a refusal last made it ask.
    refused: Option<Instant>,
}

/// How long before they expire credentials are renewed.
const AHEAD: Duration = Duration::from_secs(300);
/// How often credentials that do not expire are looked at again: the profile may
/// have been changed by then.
const UNLIMITED: Duration = Duration::from_secs(3600);
/// The shortest and the longest pause after a failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How often refusals make it ask. Where a key is revoked before its successor is
/// there, each post that follows the longest back-off asks, and none is in vain.
const REFUSALS: Duration = Duration::from_secs(2);
/// What a provider may take. A chain asks several in turn.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);

// === impl CredentialsCache ===

impl CredentialsCache {
    /// Asks `provider` once and goes on renewing in the background, until the
    /// cache is dropped.
    pub async fn start(provider: SharedCredentialsProvider, metrics: CredentialsMetrics) -> Self {
        let (sender, current) = watch::channel(Err("not asked for yet".to_owned()));
        let (refreshes, refusals) = mpsc::channel(1);
        let mut renewal = Renewal {
            provider,
            current: sender,
            metrics,
            backoff: MIN_BACKOFF,
            refused: None,
        };
        let pause = renewal.renew().await;
        tokio::spawn(renewal.run(pause, refusals));
        Self { current, refreshes }
    }

    /// The credentials of now.
    ///
    /// # Errors
    /// Where none could be had yet, with the reason.
    pub fn current(&self) -> Result<Credentials, String> {
        self.current.borrow().clone()
    }

    /// Renews them, as a signature by `key` was refused, and waits for that. They
    /// are left as they are where that key is an old one, or was renewed for the
    /// same reason a moment ago: what the backend does not permit stays forbidden,
    /// and the source is not to be asked for every request.
    pub async fn refresh(&self, key: &str) {
        let (done, renewed) = oneshot::channel();
        let key = key.to_owned();
        if self.refreshes.send(Refusal { key, done }).await.is_ok() {
            // Where the task ended there is nobody left to renew anything.
            let _ = renewed.await;
        }
    }
}

// === impl Renewal ===

impl Renewal {
    async fn run(mut self, pause: Duration, mut refusals: mpsc::Receiver<Refusal>) {
        let mut due = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => due = Instant::now() + self.renew().await,
                refusal = refusals.recv() => {
                    let Some(refusal) = refusal else { return };
                    if self.matters(&refusal) {
                        self.refused = Some(Instant::now());
                        due = Instant::now() + self.renew().await;
                    }
                    // The request that was refused may have run out of time.
                    let _ = refusal.done.send(());
                }
            }
        }
    }

    fn matters(&self, refusal: &Refusal) -> bool {
        let current = self.current.borrow();
        let is_current = |known: &Credentials| known.access_key_id() == refusal.key;
        let again = self.refused.is_some_and(|at| at.elapsed() < REFUSALS);
        current.as_ref().is_ok_and(is_current) && !again
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use aws_credential_types::provider::{
        error::CredentialsError, future::ProvideCredentials as ProvideCredentialsFuture,
    };

    use super::*;

    /// Gives KEY1, KEY2, … that are good for a while, unless it is told to fail.
    #[derive(Clone, Debug, Default)]
    struct Source {
        asked: Arc<AtomicUsize>,
        life: Option<Duration>,
        fails: Arc<Mutex<bool>>,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> ProvideCredentialsFuture<'a>
        where
            Self: 'a,
        {
            let n = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            if *self.fails.lock().unwrap() {
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
            let metrics = CredentialsFamilies::default().of("test");
            CredentialsCache::start(SharedCredentialsProvider::new(self.clone()), metrics).await
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn key(cache: &CredentialsCache) -> String {
        cache.current().unwrap().access_key_id().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_renewed_ahead_of_their_expiry() {
        let life = Some(Duration::from_secs(3600));
        let source = Source {
            life,
            ..Default::default()
        };
        let cache = source.cache().await;
        assert_eq!(key(&cache), "KEY1");
        tokio::time::sleep(Duration::from_secs(3600 - 310)).await;
        assert_eq!(source.asked(), 1);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(key(&cache), "KEY2");
    }

    #[tokio::test(start_paused = true)]
    async fn short_lived_ones_are_not_asked_for_all_the_time() {
        let life = Some(Duration::from_secs(200));
        let source = Source {
            life,
            ..Default::default()
        };
        let _cache = source.cache().await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!((8..=12).contains(&source.asked()), "{}", source.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_down_takes_nothing_away() {
        let source = Source::default();
        let cache = source.cache().await;
        *source.fails.lock().unwrap() = true;
        cache.refresh("KEY1").await;
        assert_eq!((key(&cache).as_str(), source.asked()), ("KEY1", 2));
        *source.fails.lock().unwrap() = false;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(key(&cache), "KEY3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_renews_them_once() {
        let source = Source::default();
        let cache = source.cache().await;
        cache.refresh("KEY1").await;
        assert_eq!(key(&cache), "KEY2");
        // A request that was under way with the old ones.
        cache.refresh("KEY1").await;
        // It was not the credentials.
        cache.refresh("KEY2").await;
        assert_eq!((key(&cache).as_str(), source.asked()), ("KEY2", 2));
        tokio::time::sleep(REFUSALS).await;
        cache.refresh("KEY2").await;
        assert_eq!(key(&cache), "KEY3");
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_is_told_until_there_are_some() {
        let source = Source::default();
        *source.fails.lock().unwrap() = true;
        let cache = source.cache().await;
        let error = cache.current().unwrap_err();
        assert!(error.contains("the source is down"), "{error}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        // At first after a second, then at most every half minute.
        assert!((20..=26).contains(&source.asked()), "{}", source.asked());
        *source.fails.lock().unwrap() = false;
        tokio::time::sleep(MAX_BACKOFF).await;
        assert!(cache.current().is_ok());
    }
}
