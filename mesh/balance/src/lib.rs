//! gRPC client that balances Exports over the exporters.
//!
//! ```text
//! Balance ─▶ tower p2c ─▶ PeakEwma ─▶ Ejection ─▶ Endpoint ─▶ HTTP/2 connection
//!                ▲
//!                └── discovery: one endpoint per known address
//! ```
//!
//! - [`Balance`] is the service that callers clone. It waits for an endpoint, at most for
//!   the fail-fast time or until the Export's deadline, and then fails the Export as
//!   [`Unsent`](mesh_contract::export::ExportError::Unsent).
//! - tower's [`p2c::Balance`](tower::balance::p2c::Balance) draws two ready endpoints at
//!   random and takes the one with the lower load.
//! - tower's [`PeakEwma`](tower::load::PeakEwma) measures the load of an endpoint. A
//!   failure counts as at least one second (`load`).
//! - `ejection` excludes an endpoint for a while after repeated failures. It includes it
//!   again early if no other endpoint is connected.
//! - `endpoint` is ready only while its connection is up. A background task connects,
//!   waits for the first response, sends pings and reconnects (`connection`).
//! - `discovery` turns a changing set of addresses into added and removed endpoints.
//!
//! Errors of an endpoint are part of its response (`Outcome`). Its `poll_ready` cannot
//! fail, because tower's ready cache drops a service whose `poll_ready` fails.

mod args;
mod balance;
mod client;
mod connect_error;
mod connection;
mod discovery;
mod ejection;
mod endpoint;
mod load;
mod metrics;
mod pool;
mod tls;

use mesh_contract::{export::ExportError, report::ExportResponse};

pub use args::ExporterArgs;
pub use balance::Balance;
pub use metrics::BalanceMetrics;
pub use tls::ExporterTlsArgs;

/// Result of one Export, as a response: the services below [`Balance`] never fail.
pub(crate) type Outcome = Result<ExportResponse, ExportError>;

#[cfg(test)]
mod tests;
