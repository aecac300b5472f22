//! Encodings of the data that services exchange: protobuf, OTLP over gRPC, compression, and
//! floats as text.
//!
//! - [`protobuf`] reads and writes messages field by field.
//! - [`otlp`] passes encoded OTLP requests through gRPC.
//! - [`compression`] compresses messages with zstd or gzip.
//! - [`float`] formats the values of `le` and `quantile` labels.
//!
//! This crate knows bytes, not their meaning. It must not know samples, label sets or
//! configuration; those belong to `mesh-model` and the crates above it. It does no I/O.
//!
//! ```
//! use mesh_wire::compression::Compression;
//!
//! let raw = bytes::Bytes::from("up 1\n".repeat(100));
//! let compressed = Compression::Zstd.compress(raw.clone())?;
//! assert!(compressed.len() < raw.len());
//! assert_eq!(Compression::Zstd.decompress(compressed, 1000)?, raw);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod compression;
pub mod float;
pub mod otlp;
pub mod protobuf;
