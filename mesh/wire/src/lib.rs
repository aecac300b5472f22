//! Encodings: protobuf fields, compression, floats as text, and the OTLP message forms that promesh uses.
//!
//! Nothing here knows what a sample is; the crates above decide what the bytes mean.

pub mod compression;
pub mod float;
pub mod otlp;
pub mod protobuf;
