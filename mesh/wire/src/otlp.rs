//! OTLP requests as encoded bytes, for gRPC.
//!
//! The mesh forwards requests without decoding them. [`RawCodec`] passes the encoded bytes
//! through tonic unchanged. On the wire this is standard OTLP (`MetricsService/Export`), so
//! any OTLP client or server can be the peer.

pub mod cost;
pub mod frame;
pub mod schema;
pub mod utf8;

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::protobuf::{Fields, Value, WireError};

/// HTTP path of the Export method.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Full name of the gRPC service.
pub const SERVICE_NAME: &str = "opentelemetry.proto.collector.metrics.v1.MetricsService";

/// Field number of `resource_metrics` in `ExportMetricsServiceRequest`.
const RESOURCE_METRICS: u32 = 1;

/// A tonic codec whose messages are already encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

/// Splits an encoded `ExportMetricsServiceRequest` into its encoded `ResourceMetrics`.
///
/// The parts share the memory of `request`. Unknown fields are skipped.
///
/// # Errors
/// Returns an error if `request` is not valid protobuf.
pub fn split_resource_metrics(request: &Bytes) -> Result<Vec<Bytes>, WireError> {
    let mut resources = Vec::new();
    for field in Fields::new(request) {
        let field = field?;
        if let (RESOURCE_METRICS, Value::Bytes(resource)) = (field.number, field.value) {
            resources.push(request.slice_ref(resource));
        }
    }
    Ok(resources)
}

// === impl RawCodec ===

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(message.len());
        buf.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // Splits tonic's buffer without a copy.
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        #[test]
        fn returns_each_encoded_resource(sizes in proptest::collection::vec(0usize..400, 0..5)) {
            let resource_metrics: Vec<_> = sizes
                .into_iter()
                .map(|n| ResourceMetrics { schema_url: "x".repeat(n), ..Default::default() })
                .collect();
            let request = ExportMetricsServiceRequest { resource_metrics };
            let split = split_resource_metrics(&request.encode_to_vec().into()).unwrap();
            let decoded: Vec<_> = split.into_iter().map(|r| ResourceMetrics::decode(r).unwrap()).collect();
            prop_assert_eq!(decoded, request.resource_metrics);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = split_resource_metrics(&bytes.into());
        }
    }

    #[test]
    fn skips_unknown_fields() {
        // Field 2 as varint, field 3 as fixed64, field 4 as fixed32, field 1 empty.
        let bytes = b"\x10\x96\x01\x1912345678\x2d1234\x0a\x00";
        let split = split_resource_metrics(&Bytes::from_static(bytes)).unwrap();
        assert_eq!(split, [Bytes::new()]);
    }

    #[test]
    fn rejects_a_truncated_message() {
        let error = split_resource_metrics(&Bytes::from_static(b"\x0a\x05ab")).unwrap_err();
        assert_eq!(error.to_string(), "the message ends inside field 1");
    }
}
