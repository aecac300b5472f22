//! The bytes that all running scrapes may hold.
//!
//! Prometheus has no limit of its own on a body; here every body is bounded by
//! what is left of the process' budget, so that one endless target cannot take the
//! others' memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Failure, ScrapeError};

/// The bytes that all running scrapes may hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    used: AtomicUsize,
    limit: usize,
}

/// One scrape's part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: Budget,
    bytes: usize,
}

// === impl Budget ===

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self {
            state: Arc::new(State { used, limit }),
        }
    }

    /// Bytes that scrapes hold now.
    pub fn used(&self) -> usize {
        self.state.used.load(Ordering::Relaxed)
    }

    pub(super) fn reserve(&self) -> Reserved {
        let budget = self.clone();
        Reserved { budget, bytes: 0 }
    }
}

// === impl Reserved ===

impl Reserved {
    /// Holds at least `bytes`, taken in steps.
    pub(super) fn grow_to(&mut self, bytes: usize, step: usize) -> Result<(), ScrapeError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = (bytes - self.bytes).next_multiple_of(step);
        let State { used, limit } = &*self.budget.state;
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| sum <= limit)
        });
        match taken {
            Ok(_) => {
                self.bytes += more;
                Ok(())
            }
            Err(_) => Err(ScrapeError::new(
                Failure::MemoryBudget,
                format!(
                    "all running scrapes hold {limit} bytes, the limit of --scrape.memory-budget"
                ),
            )),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget
            .state
            .used
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
