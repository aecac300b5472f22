//! Reloads of the configuration, by SIGHUP or `POST /-/reload`.
//!
//! A [`Reloader`] sends a [`Request`]. The main loop of the service receives the requests
//! one by one, applies the file or keeps the old configuration, and responds.

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

/// Requests reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Request>);

/// Receives the requests of all reloaders.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// A request for a reload.
#[derive(Debug)]
pub struct Request(oneshot::Sender<Result<(), String>>);

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

/// Creates a reloader and the receiver of its requests.
pub fn channel() -> (Reloader, Requests) {
    let (sender, receiver) = mpsc::channel(1);
    (Reloader(sender), Requests(receiver))
}

// === impl Reloader ===

impl Reloader {
    /// Requests a reload and waits for its result.
    ///
    /// # Errors
    /// Returns an error if the new configuration is invalid or the service is stopping.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (sender, result) = oneshot::channel();
        let sent = self.0.send(Request(sender)).await;
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
        // The reloader may have stopped waiting, for example after a client disconnected.
        let _ = self.0.send(result.map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_result_to_the_reloader() {
        let (reloader, mut requests) = channel();
        let service = async {
            requests.next().await.respond(Ok::<_, String>(()));
            requests.next().await.respond(Err("line 3: no"));
        };
        let reloads = async {
            reloader.reload().await.unwrap();
            reloader.reload().await.unwrap_err().to_string()
        };
        let ((), error) = tokio::join!(service, reloads);
        assert_eq!(error, "line 3: no");
    }

    #[tokio::test]
    async fn fails_if_the_service_is_stopping() {
        let (reloader, requests) = channel();
        drop(requests);
        assert!(matches!(
            reloader.reload().await,
            Err(ReloadError::Stopping)
        ));
    }
}
