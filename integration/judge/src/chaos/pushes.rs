//! An application that pushes all the time, and what it was told had arrived.

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
    /// Begins to push to the gateway at this address.
    pub(crate) fn start(gateway: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pusher = spawn_blocking(move || Pusher::new(&gateway)).await??;
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let (back, pushed) = pusher.push().await?;
                pusher = back;
                // What fails is contained in the next push: the counter is cumulative.
                if pushed.is_ok() {
                    acknowledged.push(pusher.orders());
                }
                sleep(INTERVAL).await;
            }
            // Its end is a last push, and blocks.
            spawn_blocking(move || drop(pusher)).await?;
            Ok(acknowledged)
        });
        Self { stop, task }
    }

    /// Ends it. Returns the counter's values whose push was acknowledged.
    ///
    /// # Errors
    /// Where the application could not be made.
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
