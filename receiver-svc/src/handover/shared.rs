//! State that the handle, the endpoint and the poller share.

use mesh_base::clock::Clock;
use mesh_outbox::Outbox;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::{metrics::HandoverMetrics, state::State};
use crate::ownership::Overrides;

/// State of the handover and what its changes affect.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the poller.
    pub(super) wake: Notify,
    /// Notified once a request has announced to the peers that the outbox is empty.
    pub(super) drain_announced: Notify,
    pub(super) overrides: watch::Sender<Overrides>,
    pub(super) clock: Clock,
    pub(super) outbox: Outbox,
    pub(super) metrics: HandoverMetrics,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        state: State,
        clock: Clock,
        outbox: Outbox,
        metrics: HandoverMetrics,
    ) -> Self {
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            drain_announced: Notify::new(),
            overrides: watch::Sender::default(),
            clock,
            outbox,
            metrics,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Updates the state, then publishes the overrides and the metrics.
    pub(super) fn update<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let updated = update(&mut state);
        let overrides = state.overrides();
        self.overrides.send_if_modified(|before| {
            let is_new = *before != overrides;
            *before = overrides;
            is_new
        });
        self.metrics.set_targets(state.target_counts());
        updated
    }

    /// Updates the state and wakes the poller.
    pub(super) fn update_and_wake<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        let updated = self.update(update);
        self.wake.notify_one();
        updated
    }

    /// Holds back the batches that the outbox has read from disk, once the members are known.
    /// An earlier process may have held them back, and peers may have older ones.
    pub(super) fn hold_replayed(&self) {
        let mut state = self.lock();
        if state.knows_members
            && let Some(replayed) = self.outbox.take_replayed()
        {
            state.hold_replayed(replayed);
        }
    }

    /// Grants the claims that need no response after claims have changed, and wakes the poller.
    pub(super) fn claims_changed(&self) {
        self.update_and_wake(State::grant_without_peers);
    }
}
