//! The lowest layer of the mesh: small parts that every other crate builds on.
//!
//! - [`clock`], [`random`]: time and randomness that a simulation can replace.
//! - [`shutdown`]: the signal that starts a graceful shutdown.
//! - [`blocking`]: CPU or file work off the async threads.
//! - [`budget`]: a memory limit that many tasks share.
//! - [`backoff`]: delays between retries.
//! - [`error`]: errors printed with their causes.
//! - [`watched_file`], [`awaited_file`]: values that follow the files they are made from.
//!
//! This crate knows nothing of Prometheus, OTLP or the network, and depends on no other
//! crate of the workspace.
//!
//! ```
//! use mesh_base::backoff::Backoff;
//!
//! let mut backoff = Backoff::new();
//! assert!(backoff.delay().as_millis() <= 100);
//! ```

pub mod awaited_file;
pub mod backoff;
pub mod blocking;
pub mod budget;
pub mod clock;
pub mod error;
pub mod random;
pub mod shutdown;
pub mod watched_file;
