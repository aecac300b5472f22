//! The memory that what is under way may take together.
//!
//! Who begins takes what it will need at least, and waits for it or is refused.
//! What it needs beyond that is given where there is some; it never waits for more
//! while it holds some, as all of them might.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that may be taken. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: usize,
    /// The most units that were taken at once.
    peak: Arc<AtomicUsize>,
}

/// Bytes that were taken; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    permits: OwnedSemaphorePermit,
}

/// The unit in which bytes are counted.
const UNIT: usize = 1024;

// === impl Budget ===

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
            peak: Arc::default(),
        }
    }

    /// Waits until this many bytes are free, at most all there are, and takes them.
    pub async fn take(&self, bytes: usize) -> Share {
        let units = self.units_of(bytes).min(self.units) as u32;
        let permits = self.free.clone().acquire_many_owned(units).await;
        self.note_peak();
        Share {
            budget: self.clone(),
            permits: permits.expect("the semaphore is never closed"),
        }
    }

    /// Takes nothing yet, to grow.
    pub fn begin(&self) -> Share {
        let permits = self.free.clone().try_acquire_many_owned(0);
        Share {
            budget: self.clone(),
            permits: permits.expect("nothing is always free"),
        }
    }

    /// Bytes taken.
    pub fn taken(&self) -> usize {
        (self.units - self.free.available_permits()) * UNIT
    }

    /// Bytes that were taken at once at most, since the beginning.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed) * UNIT
    }

    fn note_peak(&self) {
        let taken = self.units - self.free.available_permits();
        self.peak.fetch_max(taken, Ordering::Relaxed);
    }

    /// Bytes there are.
    pub fn bytes(&self) -> usize {
        self.units * UNIT
    }

    fn units_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).min(u32::MAX as usize)
    }
}

// === impl Share ===

impl Share {
    /// Makes it at least `bytes`; false where that is not to be had.
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
                self.budget.note_peak();
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_share_is_given_back() {
        let budget = Budget::new(10 * UNIT);
        let mut one = budget.take(4 * UNIT).await;
        assert!(one.grow_to(6 * UNIT));
        assert_eq!(budget.taken(), 6 * UNIT);
        assert_eq!(budget.peak(), 6 * UNIT);
        assert!(budget.take(5 * UNIT).now_or_never().is_none());
        let mut two = budget.take(4 * UNIT).await;
        assert!(!two.grow_to(5 * UNIT));
        assert!(two.grow_to(3 * UNIT));
        drop(one);
        assert!(two.grow_to(10 * UNIT));
        drop(two);
        assert_eq!(budget.taken(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_more_than_there_is() {
        let budget = Budget::new(UNIT);
        let share = budget.take(usize::MAX).await;
        assert_eq!(budget.taken(), budget.bytes());
        drop(share);
    }
}
