//! Who waits for what becomes of a batch: while nobody does, nobody has it delivered.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use super::lanes::Lanes;

/// Whether anybody waits for a batch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interest(Arc<Shared>);

/// Somebody who waits for a batch. With the last one it is withdrawn, unless it is
/// under way.
#[derive(Debug)]
pub struct Waiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiters: AtomicUsize,
    lanes: Weak<Lanes>,
    lane: usize,
}

// === impl Interest ===

impl Interest {
    /// Nobody waits yet for a batch of this lane.
    pub(super) fn new(lanes: &Arc<Lanes>, lane: usize) -> Self {
        Self(Arc::new(Shared {
            waiters: AtomicUsize::new(0),
            lanes: Arc::downgrade(lanes),
            lane,
        }))
    }

    /// One more waits. A batch that is under way, or that another one waits for, is
    /// kept for both; for one that was withdrawn this comes too late.
    pub fn wait(&self) -> Waiter {
        self.0.waiters.fetch_add(1, Ordering::AcqRel);
        Waiter(Arc::clone(&self.0))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.waiters.load(Ordering::Acquire) == 0
    }
}

// === impl Waiter ===

impl Waiter {
    /// The interest that it is part of.
    pub fn interest(&self) -> Interest {
        Interest(Arc::clone(&self.0))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let is_last = self.0.waiters.fetch_sub(1, Ordering::AcqRel) == 1;
        if let Some(lanes) = self.0.lanes.upgrade().filter(|_| is_last) {
            lanes.withdraw(self.0.lane);
        }
    }
}
