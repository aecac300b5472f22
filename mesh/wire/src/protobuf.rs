//! Reads and writes protobuf field by field, without intermediate structs.
//!
//! The conversions from exposition to OTLP and from OTLP to remote write dominate the cost
//! of a sample. Decoding each message into a tree of small strings would be most of that
//! cost. So [`Fields`] iterates over a message and returns slices of it, and the `put_*`
//! functions append fields to a buffer. A nested message is preceded by its length, which
//! the `*_len` functions compute in advance.
//!
//! ```
//! use mesh_wire::protobuf::{Fields, put_bytes, put_double};
//!
//! let mut message = Vec::new();
//! put_bytes(1, b"up", &mut message);
//! put_double(2, 1.0, &mut message);
//! let mut fields = Fields::new(&message);
//! assert_eq!(fields.next().expect("field 1")?.text()?, "up");
//! assert_eq!(fields.next().expect("field 2")?.double()?, 1.0);
//! # Ok::<(), mesh_wire::protobuf::WireError>(())
//! ```

mod fields;
mod put;

pub use fields::{Field, Fields, Value, WireError, take_delimited};
pub use put::{
    FIXED64_LEN, FieldType, bytes_len, put_bytes, put_double, put_fixed64, put_header,
    put_implicit_double, put_implicit_int64, put_key, put_varint, varint_len, zigzag,
};
