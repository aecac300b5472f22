//! Counts the callers that wait for the outcome of a batch.
//!
//! The outbox withdraws a batch when its last [`Waiter`] is dropped.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The waiters of one or more batches of a key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waiters(Arc<Shared>);

/// A caller that waits for the outcome of one or more batches of a key. Dropping the last
/// one withdraws the batches that are not in flight.
#[derive(Debug)]
pub struct Waiter(Arc<Shared>);

/// A queue that can withdraw batches without waiters.
pub(crate) trait Withdraw: fmt::Debug + Send + Sync {
    /// Drops the batches of a key that have no waiter left and were never sent.
    fn withdraw(&self, key: u64);
}

#[derive(Debug)]
struct Shared {
    count: AtomicUsize,
    queue: Weak<dyn Withdraw>,
    key: u64,
}

// === impl Waiters ===

impl Waiters {
    /// Creates the waiters of a batch of `key`. There is none at first.
    pub(crate) fn new(queue: Weak<dyn Withdraw>, key: u64) -> Self {
        Self(Arc::new(Shared {
            count: AtomicUsize::new(0),
            queue,
            key,
        }))
    }

    /// Adds a waiter. This keeps the batch if another waiter exists or the batch is in
    /// flight; a batch that was withdrawn does not come back.
    pub fn add(&self) -> Waiter {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Waiter(Arc::clone(&self.0))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }
}

// === impl Waiter ===

impl Waiter {
    /// Returns all waiters of the same batches.
    pub fn waiters(&self) -> Waiters {
        Waiters(Arc::clone(&self.0))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let is_last = self.0.count.fetch_sub(1, Ordering::AcqRel) == 1;
        if let Some(queue) = self.0.queue.upgrade().filter(|_| is_last) {
            queue.withdraw(self.0.key);
        }
    }
}
