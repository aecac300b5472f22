//! OTLP over gRPC as bytes.
//!
//! Inside the mesh a request is carried, not read: [`RawCodec`] hands a message's
//! bytes through tonic as they are. On the wire it is stock OTLP
//! (`MetricsService/Export`), so any OTLP tool can stand on either side.

pub mod frame;

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Path of the Export method.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Name of the service, as gRPC names it.
pub const SERVICE_NAME: &str = "opentelemetry.proto.collector.metrics.v1.MetricsService";

/// A codec that passes encoded messages on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

/// A request whose outermost message is not one of repeated field 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {problem}")]
pub struct MalformedRequest {
    at: usize,
    problem: &'static str,
}

/// Splits an encoded `ExportMetricsServiceRequest` into its encoded
/// `ResourceMetrics`, without copying; unknown fields are passed over.
///
/// # Errors
/// Where the bytes are not protobuf.
pub fn split_resource_metrics(request: &Bytes) -> Result<Vec<Bytes>, MalformedRequest> {
    let mut resources = Vec::new();
    let mut at = 0;
    while at < request.len() {
        let key = varint(request, &mut at)?;
        let (field, wire_type) = (key >> 3, key & 7);
        let len = match wire_type {
            0 => {
                varint(request, &mut at)?;
                continue;
            }
            1 => 8,
            2 => varint(request, &mut at)?,
            5 => 4,
            _ => return Err(MalformedRequest::new(at, "an unknown wire type")),
        };
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| at.checked_add(len));
        let end = end.filter(|end| *end <= request.len());
        let end = end.ok_or(MalformedRequest::new(
            at,
            "a length beyond the message's end",
        ))?;
        if field == 1 && wire_type == 2 {
            resources.push(request.slice(at..end));
        }
        at = end;
    }
    Ok(resources)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, MalformedRequest> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(MalformedRequest::new(
            *at,
            "the message ends within a number",
        ))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MalformedRequest::new(
        *at,
        "a number of more than ten bytes",
    ))
}

// === impl MalformedRequest ===

impl MalformedRequest {
    fn new(at: usize, problem: &'static str) -> Self {
        Self { at, problem }
    }
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
        // Splits the buffer tonic collected the message in; nothing is copied.
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
        fn resources_come_out_as_they_went_in(sizes in proptest::collection::vec(0usize..400, 0..5)) {
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
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = split_resource_metrics(&bytes.into());
        }
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        // Field 2 as varint, field 3 as fixed64, field 4 as fixed32, field 1 empty.
        let bytes = b"\x10\x96\x01\x1912345678\x2d1234\x0a\x00";
        let split = split_resource_metrics(&Bytes::from_static(bytes)).unwrap();
        assert_eq!(split, [Bytes::new()]);
    }

    #[test]
    fn a_cut_message_is_refused_with_its_place() {
        let error = split_resource_metrics(&Bytes::from_static(b"\x0a\x05ab")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 2: a length beyond the message's end"
        );
    }
}
