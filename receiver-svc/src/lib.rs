//! receiver-svc: discovers Prometheus targets, scrapes the targets that this receiver owns,
//! relabels samples as Prometheus does, and sends OTLP over gRPC.
//!
//! ```text
//! discovery ─▶ scrape ─▶ otlp ─▶ mesh_outbox ─▶ mesh_balance ─▶ exporters
//!                ▲
//!            ownership ◀─ handover: grants targets that no other receiver scrapes
//!                ▲
//!              shard: assigns targets to receivers
//! ```

pub mod args;
pub mod batch_context;
pub mod check;
pub mod discovery;
pub mod exposition;
pub mod handover;
pub mod heartbeat;
pub mod migrate;
pub mod monitors;
pub mod otlp;
pub mod ownership;
mod samples;
pub mod scrape;
mod service;
pub mod shard;

pub use args::Args;
pub use service::{Addresses, ApplyError, Bound, Environment, Error, bind, bind_with};
