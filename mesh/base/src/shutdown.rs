//! How a service learns that it is time to stop.
//!
//! A [`Trigger`] fires once; every [`Shutdown`] cloned from its pair sees it. A
//! service then stops taking, delivers what it has, and ends, all within the
//! drain timeout that its flags give.

use tokio_util::sync::CancellationToken;

/// Sees that it is time to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

/// Says that it is time to stop; dropping it says so too.
#[derive(Debug)]
pub struct Trigger(tokio_util::sync::DropGuard);

/// A trigger and what it triggers.
pub fn channel() -> (Trigger, Shutdown) {
    let token = CancellationToken::new();
    (Trigger(token.clone().drop_guard()), Shutdown(token))
}

// === impl Shutdown ===

impl Shutdown {
    /// Fires on the first SIGTERM or SIGINT. A second one ends the process at
    /// once, for the operator who does not want to wait for the drain.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
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
            tracing::warn!("Second signal received, leaving without draining");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Waits until it is time to stop.
    pub async fn signaled(&self) {
        self.0.cancelled().await;
    }

    /// Whether it is time to stop.
    pub fn is_signaled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `work` until it ends or it is time to stop, whichever is first.
    pub async fn unless_signaled<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

// === impl Trigger ===

impl Trigger {
    /// Says that it is time to stop.
    pub fn fire(self) {
        drop(self.0);
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn firing_is_seen_by_all_clones() {
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
