//! A memory budget that concurrent tasks share.
//!
//! A task reserves the bytes that it needs at least, and waits until they are free. If it
//! needs more later, it tries to grow its reservation, which succeeds at once or fails. A
//! task never waits while it holds a reservation, since that could deadlock.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that tasks can reserve. Cheap to clone; clones share the bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: usize,
    /// Largest number of units that were reserved at the same time.
    peak: Arc<AtomicUsize>,
}

/// Reserved bytes of a [`Budget`]. Dropping it releases them.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    permits: OwnedSemaphorePermit,
}

/// Bytes per semaphore permit.
const UNIT: usize = 1024;

// === impl Budget ===

impl Budget {
    /// Creates a budget of `bytes`, rounded up to whole KiB.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
            peak: Arc::default(),
        }
    }

    /// Waits until `bytes` are free and reserves them. A request for more than the whole
    /// budget reserves the whole budget.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let units = self.units_of(bytes).min(self.units) as u32;
        let permits = self.free.clone().acquire_many_owned(units).await;
        self.record_peak();
        Reservation {
            budget: self.clone(),
            permits: permits.expect("the semaphore is never closed"),
        }
    }

    /// Returns a reservation of 0 bytes, which can grow.
    pub fn empty_reservation(&self) -> Reservation {
        let permits = self.free.clone().try_acquire_many_owned(0);
        Reservation {
            budget: self.clone(),
            permits: permits.expect("zero permits are always available"),
        }
    }

    /// Returns the number of bytes that are reserved now.
    pub fn reserved(&self) -> usize {
        (self.units - self.free.available_permits()) * UNIT
    }

    /// Returns the largest number of bytes that were reserved at the same time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed) * UNIT
    }

    fn record_peak(&self) {
        let reserved = self.units - self.free.available_permits();
        self.peak.fetch_max(reserved, Ordering::Relaxed);
    }

    /// Returns the size of the whole budget in bytes.
    pub fn capacity(&self) -> usize {
        self.units * UNIT
    }

    fn units_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).min(u32::MAX as usize)
    }
}

// === impl Reservation ===

impl Reservation {
    /// Grows the reservation to at least `bytes`. Returns false and changes nothing if
    /// the budget does not have that many free bytes.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = self
            .budget
            .units_of(bytes)
            .saturating_sub(self.permits.num_permits());
        if more == 0 {
            return true;
        }
        match self.budget.free.clone().try_acquire_many_owned(more as u32) {
            Ok(permits) => {
                self.permits.merge(permits);
                self.budget.record_peak();
                true
            }
            Err(_) => false,
        }
    }

    /// Releases all but `bytes` of the reservation.
    pub fn shrink_to(&mut self, bytes: usize) {
        let reserved = self.permits.num_permits();
        let excess = reserved.saturating_sub(self.budget.units_of(bytes));
        drop(self.permits.split(excess));
    }

    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> usize {
        self.permits.num_permits() * UNIT
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn releases_a_dropped_reservation() {
        let budget = Budget::new(10 * UNIT);
        let mut one = budget.reserve(4 * UNIT).await;
        assert!(one.grow_to(6 * UNIT));
        assert_eq!(budget.reserved(), 6 * UNIT);
        assert_eq!(budget.peak(), 6 * UNIT);
        assert!(budget.reserve(5 * UNIT).now_or_never().is_none());
        let mut two = budget.reserve(4 * UNIT).await;
        assert!(!two.grow_to(5 * UNIT));
        assert!(two.grow_to(3 * UNIT));
        drop(one);
        assert!(two.grow_to(10 * UNIT));
        two.shrink_to(3 * UNIT);
        assert_eq!((two.bytes(), budget.reserved()), (3 * UNIT, 3 * UNIT));
        two.shrink_to(5 * UNIT);
        assert_eq!(two.bytes(), 3 * UNIT);
        drop(two);
        assert_eq!(budget.reserved(), 0);
    }

    #[tokio::test]
    async fn reserves_the_whole_budget_at_most() {
        let budget = Budget::new(UNIT);
        let whole = budget.reserve(usize::MAX).await;
        assert_eq!(budget.reserved(), budget.capacity());
        drop(whole);
    }
}
