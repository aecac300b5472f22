//! Reloading the configuration, by SIGHUP or `POST /-/reload`.
//!
//! A [`Reloader`] asks; the service's own loop takes the [`Request`]s one by one,
//! applies the file or keeps what it has, and answers.

use tokio::sync::{mpsc, oneshot};

/// Asks for a reload.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Request>);

/// Takes what reloaders ask for.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// One reload that was asked for.
#[derive(Debug)]
pub struct Request(oneshot::Sender<Result<(), String>>);

/// A reload that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// A reloader and its requests.
pub fn channel() -> (Reloader, Requests) {
    let (sender, receiver) = mpsc::channel(1);
    (Reloader(sender), Requests(receiver))
}

// === impl Reloader ===

impl Reloader {
    /// Asks for a reload and waits for what became of it.
    ///
    /// # Errors
    /// Where nothing changed, with the reason.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (done, outcome) = oneshot::channel();
        let sent = self.0.send(Request(done)).await;
        sent.map_err(|_| ReloadError::Stopping)?;
        match outcome.await {
            Ok(outcome) => outcome.map_err(ReloadError::Invalid),
            Err(_) => Err(ReloadError::Stopping),
        }
    }

    /// Asks for a reload at every SIGHUP, for the life of the process.
    ///
    /// # Errors
    /// Where the handler cannot be installed.
    pub fn on_hangup(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let reloader = self.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                match reloader.reload().await {
                    Ok(()) => {}
                    Err(ReloadError::Stopping) => return,
                    Err(error) => {
                        tracing::error!(%error, "Not reloaded, the old configuration stays");
                    }
                }
            }
        });
        Ok(())
    }
}

// === impl Requests ===

impl Requests {
    /// The next reload that is asked for; waits for ever once nobody can ask.
    pub async fn next(&mut self) -> Request {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

// === impl Request ===

impl Request {
    /// Says what became of it.
    pub fn answer<E: std::fmt::Display>(self, outcome: Result<(), E>) {
        // Whoever asked may have gone; the outcome stands all the same.
        let _ = self.0.send(outcome.map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_outcome_reaches_who_asked() {
        let (reloader, mut requests) = channel();
        let service = async {
            requests.next().await.answer(Ok::<_, String>(()));
            requests.next().await.answer(Err("line 3: no"));
        };
        let asking = async {
            reloader.reload().await.unwrap();
            reloader.reload().await.unwrap_err().to_string()
        };
        let ((), error) = tokio::join!(service, asking);
        assert_eq!(error, "line 3: no");
    }

    #[tokio::test]
    async fn a_stopping_service_says_so() {
        let (reloader, requests) = channel();
        drop(requests);
        assert!(matches!(
            reloader.reload().await,
            Err(ReloadError::Stopping)
        ));
    }
}
