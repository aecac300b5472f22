//! The share of the memory that Exports to one destination may use.
//!
//! A destination that hangs keeps its Exports in memory until their deadlines. It must not use
//! up the memory of the others.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes of the Exports in flight to one destination alone.
#[derive(Debug, Default)]
pub struct Share(Arc<AtomicUsize>);

/// Bytes of one Export in flight. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct TakenShare {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

// === impl Share ===

impl Share {
    /// Takes the bytes of an Export. Returns `None` if the destination would have more than
    /// `limit` in flight. A single Export always fits.
    pub(crate) fn take(&self, bytes: usize, limit: usize) -> Option<TakenShare> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let taken = TakenShare {
            all: self.0.clone(),
            bytes,
        };
        (before == 0 || before + bytes <= limit).then_some(taken)
    }
}

impl Drop for TakenShare {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
