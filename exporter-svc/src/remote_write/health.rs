//! Health probe that distinguishes a slow backend from a hanging one.
//!
//! After a timeout, the sender extends the next request's timeout if the backend is
//! slow. If the backend hangs, a longer timeout would only delay the recovery. So once
//! a post has waited for half of its timeout, the exporter sends empty requests every
//! few seconds, with a timeout of a minute. A slow backend responds to them.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug};

use super::{client::Client, metrics::Metrics};

/// Tracks the response times of one backend and probes it.
#[derive(Debug)]
pub struct HealthProbe {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Recent response times that exceed all later ones, oldest first.
    responses: VecDeque<ResponseTime>,
    /// Time of the last probe.
    last_probe: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct ResponseTime {
    at: Instant,
    took: Duration,
}

/// Interval and timeout of probes; together they bound the number of probes in flight.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

// === impl HealthProbe ===

impl HealthProbe {
    /// Creates a probe without any response times.
    pub fn new(client: Arc<Client>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            state: Mutex::default(),
        }
    }

    /// Records that the backend responded after `took`.
    pub fn record_response(&self, took: Duration) {
        let at = Instant::now();
        let mut state = self.state();
        state
            .responses
            .retain(|a| a.took > took && a.at + PROBE_TIMEOUT > at);
        state.responses.push_back(ResponseTime { at, took });
    }

    /// Returns true if the backend responded after `since`, and needed at least half of
    /// the time since then.
    pub fn is_slow(&self, since: Instant) -> bool {
        let half = since.elapsed() / 2;
        let slow = |a: &ResponseTime| a.at >= since && a.took >= half;
        self.state().responses.iter().any(slow)
    }

    /// Probes the backend while this future is polled, starting after half of
    /// `timeout`.
    pub async fn probe_while_pending(self: &Arc<Self>, timeout: Duration) -> Infallible {
        sleep(timeout / 2).await;
        loop {
            self.probe();
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Sends a probe unless one was sent within the interval.
    fn probe(self: &Arc<Self>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            if state
                .last_probe
                .is_some_and(|last| now < last + PROBE_INTERVAL)
            {
                return;
            }
            state.last_probe = Some(now);
        }
        let health = Arc::clone(self);
        let probe = async move {
            let answer = health.client.probe(now + PROBE_TIMEOUT).await;
            let took = now.elapsed();
            debug!(?answer, ?took, "Probed");
            health.metrics.record_probe(&answer);
            if answer.is_ok() {
                health.record_response(took);
            }
        };
        tokio::spawn(probe.in_current_span());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
