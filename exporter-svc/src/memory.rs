//! Memory of one Export: its own bytes and its translated series.
//!
//! Several samples of one series travel in several requests, each with all labels of the
//! series. So the translated series can be many times as large as the Export, and only
//! the translation shows how large. It reserves the memory as it goes.

use mesh_base::budget::{Budget, Reservation};

/// Memory that an Export uses and has reserved.
#[derive(Debug)]
pub struct ExportMemory {
    /// Reserved bytes of the budget; `None` without a budget.
    reservation: Option<Reservation>,
    /// Bytes that are reserved.
    reserved: usize,
    /// Bytes that are used.
    used: usize,
    /// Maximum of `used` that can be reserved at all.
    limit: usize,
}

/// The memory budget (`--ingest.max-bytes`) does not allow the translation of an Export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfMemory {
    /// Other Exports use the budget. The sender retries.
    #[error(
        "the memory budget (--ingest.max-bytes) is exhausted; retry later or on another exporter"
    )]
    Now,
    /// The Export needs more than the whole budget. A retry cannot help.
    #[error(
        "the translated series of one Export exceed the memory budget (--ingest.max-bytes); \
         send fewer samples of one series at once, or shorter labels"
    )]
    Always,
}

/// Memory that a translated Export usually needs, as a multiple of its encoded size.
const EXPANSION: usize = 3;
/// Bytes to reserve in advance when more are needed. A large Export reserves an eighth of
/// its memory in advance.
const STEP: usize = 2 << 10;

// === impl ExportMemory ===

impl ExportMemory {
    /// Memory without a budget, for translations outside of the exporter.
    pub fn unlimited() -> Self {
        Self {
            reservation: None,
            reserved: usize::MAX,
            used: 0,
            limit: usize::MAX,
        }
    }

    /// Reserves memory for an Export of `len` bytes and its translation. An Export that is
    /// larger than the whole budget may use all of it.
    ///
    /// # Errors
    /// Returns [`OutOfMemory::Now`] if too little of the budget is free.
    pub fn reserve(budget: &Budget, len: usize) -> Result<Self, OutOfMemory> {
        let expected = len.saturating_mul(EXPANSION);
        let mut reservation = budget.empty_reservation();
        if !reservation.grow_to(expected.min(budget.capacity())) {
            return Err(OutOfMemory::Now);
        }
        Ok(Self {
            reservation: Some(reservation),
            reserved: expected,
            used: len,
            limit: expected.max(budget.capacity()),
        })
    }

    /// Adds `bytes` to the memory in use.
    ///
    /// # Errors
    /// Returns an error if the budget does not allow it.
    pub fn add(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            return Err(OutOfMemory::Always);
        }
        if used > self.reserved {
            let wanted = used.saturating_add(STEP.max(used / 8)).min(self.limit);
            let reservation = self.reservation.as_mut();
            if !reservation.is_some_and(|reservation| reservation.grow_to(wanted)) {
                return Err(OutOfMemory::Now);
            }
            self.reserved = wanted;
        }
        self.used = used;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 4 << 20;

    #[test]
    fn grows_until_the_budget_is_used_up() {
        let budget = Budget::new(BUDGET);
        let mut one = ExportMemory::reserve(&budget, 1 << 20).unwrap();
        assert_eq!(budget.reserved(), 3 << 20);
        assert_eq!(one.add(2 << 20), Ok(()));
        let mut two = ExportMemory::reserve(&budget, 100_000).unwrap();
        assert_eq!(one.add(1 << 20), Err(OutOfMemory::Now));
        assert_eq!(two.add(BUDGET), Err(OutOfMemory::Always));
        drop(two);
        assert_eq!(one.add(1 << 20), Ok(()));
        assert_eq!(one.add(1), Err(OutOfMemory::Always));
        drop(one);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn an_export_larger_than_the_budget_may_use_all_of_it() {
        let budget = Budget::new(BUDGET);
        let mut large = ExportMemory::reserve(&budget, 2 * BUDGET).unwrap();
        assert_eq!(budget.reserved(), BUDGET);
        assert_eq!(large.add(3 * BUDGET), Ok(()));
        assert_eq!(
            ExportMemory::reserve(&budget, 1).unwrap_err(),
            OutOfMemory::Now
        );
    }
}
