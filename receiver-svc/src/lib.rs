//! receiver-svc: discovers Prometheus targets, scrapes those that are its own,
//! relabels as Prometheus does, and emits OTLP over gRPC.

pub mod args;
pub mod discovery;
pub mod exposition;
pub mod facts;
pub mod otlp;
pub mod scrape;
pub mod shard;
