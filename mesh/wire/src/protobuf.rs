//! Protobuf by hand: reading field by field, writing field by field.
//!
//! What a sample costs is decided where exposition becomes OTLP and where OTLP
//! becomes remote write, and building a tree of small strings for every sample
//! would be most of it. [`Fields`] walks a message and hands out slices of it; the
//! `put_*` functions append fields to a buffer. Messages within messages are
//! preceded by their length, so the `*_len` functions tell it before they are
//! written.

mod fields;
mod put;

pub use fields::{Field, Fields, Value, WireError, take_delimited};
pub use put::{
    FIXED64_LEN, FieldType, bytes_len, put_bytes, put_double, put_fixed64, put_header,
    put_implicit_double, put_implicit_int64, put_key, put_varint, varint_len, zigzag,
};
