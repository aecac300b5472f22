//! Protobuf types of Prometheus (remote write 1.0 and 2.0, and the protobuf exposition format),
//! and of the protocol between receivers.
//!
//! The modules are generated from `proto/*.proto` and checked in, so that a build
//! needs no protobuf compiler. `cargo run -p proto --example codegen` regenerates
//! them. A test fails if they differ from their sources.
//!
//! The OTLP types come from `opentelemetry-proto`.

mod exact;

/// Remote write 1.0 (`prometheus.WriteRequest`).
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[path = "generated/prometheus.rs"]
pub mod v1;

/// Remote write 2.0 (`io.prometheus.write.v2.Request`).
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[path = "generated/io.prometheus.write.v2.rs"]
pub mod v2;

/// The protobuf exposition format (`io.prometheus.client.MetricFamily`).
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[path = "generated/io.prometheus.client.rs"]
pub mod exposition;

/// The handover of targets between receivers (`promesh.handover.v1`).
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[path = "generated/promesh.handover.v1.rs"]
pub mod handover;
