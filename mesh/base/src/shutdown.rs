//! The signal that starts a graceful shutdown.
//!
//! A [`Trigger`] fires once, and every clone of its [`Shutdown`] observes it. The service
//! then accepts no new work, delivers its pending data and exits, all within its drain
//! timeout.

use tokio_util::sync::CancellationToken;

/// Observes the shutdown signal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

/// Triggers the shutdown when fired or dropped.
#[derive(Debug)]
pub struct Trigger(tokio_util::sync::DropGuard);

/// Creates a trigger and the shutdown signal that it controls.
pub fn channel() -> (Trigger, Shutdown) {
    let token = CancellationToken::new();
    (Trigger(token.clone().drop_guard()), Shutdown(token))
}

// === impl Shutdown ===

impl Shutdown {
    /// Returns a shutdown signal that the first SIGTERM or SIGINT fires. A second signal
    /// exits the process at once with code 130, so an operator can skip the drain.
    ///
    /// # Errors
    /// Returns an error if the signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let (trigger, shutdown) = channel();
        tokio::spawn(async move {
            let mut next = async || tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} };
            next().await;
            tracing::info!("Signal received, draining");
            drop(trigger);
            next().await;
            tracing::warn!("Second signal received, exiting without draining");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Waits for the shutdown signal.
    pub async fn signaled(&self) {
        self.0.cancelled().await;
    }

    /// Returns true if the shutdown signal has fired.
    pub fn is_signaled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `work` until it completes or the shutdown signal fires. Returns `None` in the
    /// second case.
    pub async fn unless_signaled<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

// === impl Trigger ===

impl Trigger {
    /// Fires the shutdown signal.
    pub fn fire(self) {
        drop(self.0);
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn signals_all_clones() {
        let (trigger, shutdown) = super::channel();
        let other = shutdown.clone();
        assert!(!other.is_signaled());
        trigger.fire();
        shutdown.signaled().await;
        assert!(other.is_signaled());
        assert_eq!(
            other.unless_signaled(std::future::pending::<()>()).await,
            None
        );
    }
}
