//! What every pod of the promesh mesh shares, and nothing else.
//!
//! A sample crosses this crate twice. On the sending side (receiver-svc and
//! gateway) a scrape or a push becomes a [`batch::Batch`], waits in a lane of
//! the [`outbox`] and travels through [`balance`] to one of the exporters that
//! [`endpoints`] discovers. On the receiving side exporter-svc reads the batch's
//! facts from gRPC metadata and answers with a [`verdict`].
//!
//! ```text
//! scrape ─▶ Batch ─▶ outbox lane ─▶ balance ─OTLP/gRPC─▶ exporter ─▶ AMP
//!                        ▲                                   │
//!                        └────────────── verdict ◀───────────┘
//! ```

pub mod admin;
pub mod aws;
mod backoff;
pub mod balance;
pub mod batch;
pub mod blocking;
pub mod budget;
pub mod clock;
pub mod compression;
pub mod config;
pub mod endpoints;
pub mod export;
pub mod float;
pub mod go_regexp;
pub mod ha;
pub mod http_client;
pub mod kubernetes;
pub mod labels;
pub mod names;
pub mod otlp;
pub mod outbox;
pub mod random;
pub mod relabel;
pub mod reload;
pub mod reread;
pub mod serve;
pub mod shard;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod verdict;
pub mod wire;
