//! Whether a backend that does not answer is slow, or answers nothing at all.
//!
//! A sender whose request ran out of time gives the next one more where the backend is
//! slow. Where it hangs more time would only mean that a sender notices later that it is
//! well again. So while a post has been waiting for half of its time the backend is sent
//! an empty request every few seconds, which has a minute: a slow one answers it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug};

use super::{client::Client, metrics::Metrics};

/// What is known of how one backend answers.
#[derive(Debug)]
pub struct Pulse {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Answers of late that took longer than all after them, oldest first.
    answers: VecDeque<Answered>,
    /// When the last probe was sent.
    probed: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    at: Instant,
    took: Duration,
}

/// How often a backend is probed, and how long it has: together they bound how many
/// probes are under way.
const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);

// === impl Pulse ===

impl Pulse {
    /// Nothing is known of the backend behind `client` yet.
    pub fn new(client: Arc<Client>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            state: Mutex::default(),
        }
    }

    /// Notes that the backend has answered something after this long.
    pub fn answered(&self, took: Duration) {
        let at = Instant::now();
        let mut state = self.state();
        state
            .answers
            .retain(|a| a.took > took && a.at + TIMEOUT > at);
        state.answers.push_back(Answered { at, took });
    }

    /// Whether the backend has answered since `since`, and needed at least half of the
    /// time that has passed for it.
    pub fn is_slow(&self, since: Instant) -> bool {
        let half = since.elapsed() / 2;
        let slow = |a: &Answered| a.at >= since && a.took >= half;
        self.state().answers.iter().any(slow)
    }

    /// Probes the backend for as long as this is polled, once half of `given` is over.
    pub async fn watch(self: &Arc<Self>, given: Duration) -> Infallible {
        sleep(given / 2).await;
        loop {
            self.probe();
            sleep(EVERY).await;
        }
    }

    /// Sends a probe, unless one was sent just now.
    fn probe(self: &Arc<Self>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            if state.probed.is_some_and(|last| now < last + EVERY) {
                return;
            }
            state.probed = Some(now);
        }
        let pulse = Arc::clone(self);
        let probe = async move {
            let answer = pulse.client.probe(now + TIMEOUT).await;
            let took = now.elapsed();
            debug!(?answer, ?took, "Probed");
            pulse.metrics.probed(&answer);
            if answer.is_ok() {
                pulse.answered(took);
            }
        };
        tokio::spawn(probe.in_current_span());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
