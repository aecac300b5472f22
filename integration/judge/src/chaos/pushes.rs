//! An application that pushes all the time, and records which pushes were acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use stand_ins::otel::Pusher;

const INTERVAL: Duration = Duration::from_millis(500);

/// A pushing application.
#[derive(Debug)]
pub(crate) struct Pushes {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<Vec<u64>>>,
}

// === impl Pushes ===

impl Pushes {
    /// Starts to push to a gateway.
    pub(crate) fn start(gateway: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pusher = spawn_blocking(move || Pusher::new(&gateway)).await??;
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let (back, pushed) = pusher.push().await?;
                pusher = back;
                // A failed push is contained in the next one, since the counter is
                // cumulative.
                if pushed.is_ok() {
                    acknowledged.push(pusher.orders());
                }
                sleep(INTERVAL).await;
            }
            // Dropping the pusher pushes once more, and blocks.
            spawn_blocking(move || drop(pusher)).await?;
            Ok(acknowledged)
        });
        Self { stop, task }
    }

    /// Stops it. Returns the counter's values whose pushes were acknowledged.
    ///
    /// # Errors
    /// Returns an error if the application could not be created.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Vec<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.task).await?
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
