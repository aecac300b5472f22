//! A scrape survives OTLP: what a reader in `opentelemetry-proto`'s types gets
//! from a batch is what was appended, to the bit.

mod bodies;
mod generated;
mod reader;
mod round_trip;
mod shapes;
