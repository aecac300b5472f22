//! receiver-svc: discovers Prometheus targets, scrapes those that are its own,
//! relabels as Prometheus does, and emits OTLP over gRPC.
//!
//! ```text
//! discovery ─▶ scrape ─▶ otlp ─▶ mesh::outbox ─▶ mesh::balance ─▶ exporters
//!                ▲
//!              shard: which targets are mine; handover: whether they are free
//! ```

pub mod args;
pub mod check;
pub mod discovery;
pub mod exposition;
pub mod facts;
pub mod handover;
pub mod heartbeat;
pub mod otlp;
pub mod scrape;
mod service;
pub mod shard;

pub use args::Args;
pub use service::{Addresses, Bound, Error, Unusable, bind};
