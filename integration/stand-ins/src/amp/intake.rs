//! Handler for load tests, whose samples are too many for a store and a ledger.

use std::fmt;

/// Handles requests instead of the store and the ledger, which keep every sample in memory.
///
/// The implementation checks the samples itself. Faults that depend on the content of a
/// request have no effect.
pub trait Intake: fmt::Debug + Send + Sync {
    /// Handles a decompressed request of remote write 1.0. `now_ms` is in milliseconds since
    /// the Unix epoch.
    ///
    /// # Errors
    /// Returns the message of the backend's 400 if a sample is rejected.
    fn handle(&self, request: &[u8], now_ms: i64) -> Result<(), String>;
}
