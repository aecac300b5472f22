//! Reloads of the configuration: by SIGHUP, by `POST /-/reload`, and when its files change.
//!
//! A [`Reloader`] sends a [`Request`]. The main loop of the service receives the requests
//! one by one, applies the file or keeps the old configuration, and responds.

mod watch;

use std::sync::{Arc, atomic::AtomicU64};

use mesh_base::clock::Clock;
use parking_lot::Mutex;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

pub use self::watch::{ConfigWatch, WatchArgs};

/// Requests reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    last: Arc<LastReload>,
}

/// Receives the requests of all reloaders.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// A request for a reload.
#[derive(Debug)]
pub struct Request {
    result: oneshot::Sender<Result<(), String>>,
    last: Arc<LastReload>,
}

/// Result of the last reload. The configuration at the start counts as the first.
#[derive(Debug, Default)]
struct LastReload {
    successful: Gauge,
    success_timestamp: Gauge<f64, AtomicU64>,
    /// Reason why the configuration file is not in use.
    failure: Mutex<Option<String>>,
}

/// A reload failed and the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// Creates a reloader and the receiver of its requests, and registers the metrics of the last
/// reload.
pub fn channel(registry: &mut Registry) -> (Reloader, Requests) {
    let (requests, receiver) = mpsc::channel(1);
    let last = Arc::new(LastReload::default());
    last.record(&Ok(()));
    registry.register(
        "config_last_reload_successful",
        "Whether the last reload of the configuration succeeded (1) or failed (0)",
        last.successful.clone(),
    );
    registry.register(
        "config_last_reload_success_timestamp_seconds",
        "Time of the last successful reload of the configuration, in seconds since the Unix epoch",
        last.success_timestamp.clone(),
    );
    (Reloader { requests, last }, Requests(receiver))
}

// === impl Reloader ===

impl Reloader {
    /// Requests a reload and waits for its result.
    ///
    /// # Errors
    /// Returns an error if the new configuration is invalid or the service is stopping.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (sender, result) = oneshot::channel();
        let request = Request {
            result: sender,
            last: self.last.clone(),
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| ReloadError::Stopping)?;
        match result.await {
            Ok(result) => result.map_err(ReloadError::Invalid),
            Err(_) => Err(ReloadError::Stopping),
        }
    }

    /// Requests a reload at each SIGHUP, until the service stops.
    ///
    /// # Errors
    /// Returns an error if the signal handler cannot be installed.
    pub fn on_hangup(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let reloader = self.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                if let Err(ReloadError::Stopping) = reloader.reload().await {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Requests a reload each time that the files of the configuration change, until the
    /// service stops.
    pub fn on_change(&self, mut watch: ConfigWatch) {
        let reloader = self.clone();
        tokio::spawn(async move {
            loop {
                watch.changed().await;
                info!("Configuration file changed");
                if let Err(ReloadError::Stopping) = reloader.reload().await {
                    return;
                }
            }
        });
    }

    /// Returns the reason why the last reload failed. `None` if it succeeded.
    pub fn failure(&self) -> Option<String> {
        self.last.failure.lock().clone()
    }
}

// === impl Requests ===

impl Requests {
    /// Waits for the next request. Never returns once all reloaders are dropped.
    pub async fn next(&mut self) -> Request {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

// === impl Request ===

impl Request {
    /// Logs the result of the reload and sends it to the reloader.
    pub fn respond<E: std::fmt::Display>(self, result: Result<(), E>) {
        match &result {
            Ok(()) => info!("Configuration reloaded"),
            Err(error) => error!(%error, "Reload failed, the previous configuration stays in use"),
        }
        let result = result.map_err(|error| error.to_string());
        self.last.record(&result);
        // The reloader may have stopped waiting, for example after a client disconnected.
        let _ = self.result.send(result);
    }
}

// === impl LastReload ===

impl LastReload {
    fn record(&self, result: &Result<(), String>) {
        self.successful.set(result.is_ok().into());
        if result.is_ok() {
            let seconds = Clock::system().now_ms() as f64 / 1000.0;
            self.success_timestamp.set(seconds);
        }
        *self.failure.lock() = result.as_ref().err().cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_result_to_the_reloader() {
        let (reloader, mut requests) = channel(&mut Registry::default());
        let service = async {
            requests.next().await.respond(Ok::<_, String>(()));
            requests.next().await.respond(Err("line 3: no"));
        };
        let reloads = async {
            reloader.reload().await.unwrap();
            assert_eq!(reloader.failure(), None);
            reloader.reload().await.unwrap_err().to_string()
        };
        let ((), error) = tokio::join!(service, reloads);
        assert_eq!(error, "line 3: no");
        assert_eq!(reloader.failure(), Some(error));
        assert_eq!(reloader.last.successful.get(), 0);
        assert!(reloader.last.success_timestamp.get() > 1e9);
    }

    #[tokio::test]
    async fn fails_if_the_service_is_stopping() {
        let (reloader, requests) = channel(&mut Registry::default());
        drop(requests);
        assert!(matches!(
            reloader.reload().await,
            Err(ReloadError::Stopping)
        ));
    }
}
