//! Memory of one Export: its own bytes and its translated series.
//!
//! Several samples of one series travel in several requests, each with all labels of the
//! series. So the translated series can be many times as large as the Export, and only
//! the translation shows how large. It reserves the memory as it goes.

use mesh_base::budget::Reservation;

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
    /// `true` if the Export has several batches.
    is_joint: bool,
}

/// Maximum memory of one Export and of all of them.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Memory in bytes for all Exports in flight (`--ingest.max-bytes`).
    pub all: usize,
    /// Memory in bytes for one Export (`--ingest.max-export-bytes`).
    pub one: usize,
}

/// The memory limits do not allow the translation of an Export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfMemory {
    /// Other Exports use the budget. The sender retries.
    #[error(
        "the memory budget (--ingest.max-bytes) is exhausted; retry later or on another exporter"
    )]
    Now,
    /// The batches of the Export together need more than one Export may use. The sender sends
    /// them one by one.
    #[error(
        "the batches of one Export together exceed its memory limit (--ingest.max-export-bytes); \
         send them one by one"
    )]
    Joint,
    /// The Export needs more than one Export may use. A retry cannot help.
    #[error(
        "one Export would need more memory than --ingest.max-export-bytes or --ingest.max-bytes \
         allow; send fewer samples at once, or shorter labels"
    )]
    Always,
}

/// Memory that a translated Export usually needs, as a multiple of its encoded size.
pub(crate) const EXPANSION: usize = 3;
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
            is_joint: false,
        }
    }

    /// Grows the reservation of a received Export of `len` bytes by what its translation
    /// usually needs. One Export may use up to `limit` bytes.
    ///
    /// # Errors
    /// Returns [`OutOfMemory::Now`] if too little of the budget is free, and
    /// [`OutOfMemory::Always`] if the Export exceeds `limit`.
    pub fn new(
        mut reservation: Reservation,
        len: usize,
        limit: usize,
    ) -> Result<Self, OutOfMemory> {
        if len > limit {
            return Err(OutOfMemory::Always);
        }
        let expected = len.saturating_mul(EXPANSION).min(limit);
        if !reservation.grow_to(expected) {
            return Err(OutOfMemory::Now);
        }
        Ok(Self {
            reservation: Some(reservation),
            reserved: expected,
            used: len,
            limit,
            is_joint: false,
        })
    }

    /// Memory of an Export with several batches. One of them may need so much that the others
    /// do not fit.
    #[must_use]
    pub fn joint(self) -> Self {
        Self {
            is_joint: true,
            ..self
        }
    }

    /// Returns the bytes that can still be added, if the budget is free.
    pub fn remaining(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Removes `bytes` from the memory in use. They stay reserved for later additions.
    pub fn release(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Adds `bytes` to the memory in use.
    ///
    /// # Errors
    /// Returns an error if the budget does not allow it.
    pub fn add(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            return Err(if self.is_joint {
                OutOfMemory::Joint
            } else {
                OutOfMemory::Always
            });
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
    use mesh_base::budget::Budget;

    use super::*;

    const BUDGET: usize = 4 << 20;

    fn export(budget: &Budget, len: usize) -> Result<ExportMemory, OutOfMemory> {
        ExportMemory::new(budget.empty_reservation(), len, 3 << 20)
    }

    #[test]
    fn grows_until_the_budget_is_used_up() {
        let budget = Budget::new(BUDGET);
        let mut one = export(&budget, 100_000).unwrap();
        assert_eq!(one.add(2 << 20), Ok(()));
        let mut two = export(&budget, 100_000).unwrap();
        assert_eq!(two.add(2 << 20), Err(OutOfMemory::Now));
        drop(one);
        assert_eq!(two.add(2 << 20), Ok(()));
        two.release(2 << 20);
        assert_eq!(two.add(2 << 20), Ok(()));
        drop(two);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn one_export_cannot_use_the_whole_budget() {
        let budget = Budget::new(BUDGET);
        let mut one = export(&budget, 2 << 20).unwrap();
        assert_eq!(budget.reserved(), 3 << 20);
        assert_eq!(one.add(1 << 20), Ok(()));
        assert_eq!(one.add(1), Err(OutOfMemory::Always));
        assert_eq!(export(&budget, 4 << 20).unwrap_err(), OutOfMemory::Always);
    }
}
