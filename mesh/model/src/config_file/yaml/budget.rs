//! Memory that the values of one file may take.

use std::cell::Cell;

/// Number of bytes that the values of any file may take.
const MIN_BYTES: usize = 64 << 20;
/// Number of bytes that the values may take for each byte of the text.
const BYTES_PER_BYTE: usize = 4;

/// Counts the bytes of texts that a file yields. Only aliases can make them more than the
/// bytes of the file.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<usize>,
    finished: Cell<bool>,
}

// === impl Budget ===

impl Budget {
    /// Budget for the values of `text`.
    pub(super) fn of(text: &str) -> Self {
        Self {
            left: Cell::new(MIN_BYTES.max(text.len().saturating_mul(BYTES_PER_BYTE))),
            finished: Cell::new(false),
        }
    }

    /// Takes the bytes of one value.
    ///
    /// # Errors
    /// Returns a message for the user if the budget is exhausted.
    pub(super) fn take(&self, bytes: usize) -> Result<(), &'static str> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(
            left.ok_or("the aliases of the file expand to too much text, repeat fewer anchors")?,
        );
        Ok(())
    }

    /// Marks the first document as read.
    pub(super) fn finish(&self) {
        self.finished.set(true);
    }

    /// Returns true once the first document is read.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }
}
