//! Where requests go that have too many samples for a store and a ledger.

use std::fmt;

/// Takes requests in the place of the store and the ledger, which remember every
/// sample. It judges what arrives by itself; faults that look into a request have no
/// effect.
pub trait Intake: fmt::Debug + Send + Sync {
    /// Takes a decompressed request of remote write 1.0 at a time in milliseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// What the backend answers with a 400: a sample was refused.
    fn take(&self, request: &[u8], now_ms: i64) -> Result<(), String>;
}
