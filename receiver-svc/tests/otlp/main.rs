//! Checks that the OTLP encoding of a scrape loses nothing. A reader built on
//! `opentelemetry-proto` restores every appended sample bit for bit.

mod bodies;
mod generated;
mod reader;
mod round_trip;
mod shapes;
