//! The share of a batch in the account.

use std::iter::Sum;

/// Samples and bytes that batches add to the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) samples: u64,
    /// Bytes of memory.
    pub(crate) bytes: usize,
    /// Samples on the disk.
    pub(crate) spilled: u64,
}

// === impl Weight ===

impl Weight {
    /// Weight in the account of one destination, which counts no bytes.
    pub(crate) fn of_samples(samples: u64) -> Self {
        Self {
            samples,
            ..Self::default()
        }
    }
}

impl Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), |a, b| Self {
            samples: a.samples + b.samples,
            bytes: a.bytes + b.bytes,
            spilled: a.spilled + b.spilled,
        })
    }
}
