//! The body of an OTLP/HTTP request: bounded, decompressed, decoded.

use std::io::Read;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

use crate::json;

/// How a body spells its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes on the wire.
    pub(super) compressed: usize,
    /// Bytes once decompressed.
    pub(super) decompressed: usize,
}

/// A body that is not taken; all but the last for good.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("Content-Encoding {0:?}, expected gzip, zstd or identity")]
    Encoding(String),
    #[error("{0}")]
    Malformed(String),
    #[error("the body did not arrive whole: {0}")]
    Interrupted(String),
}

// === impl Encoding ===

impl Encoding {
    /// The encoding that the content type names.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match content_type
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Reads a request.
pub(super) async fn read(
    encoding: Encoding,
    headers: &HeaderMap,
    body: Body,
    limits: Limits,
) -> Result<ExportMetricsServiceRequest, Refusal> {
    let collected = Limited::new(body, limits.compressed).collect().await;
    let compressed = collected.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => Refusal::TooLarge(limits.compressed),
        Err(error) => Refusal::Interrupted(error.to_string()),
    })?;
    let bytes = decompress(headers, compressed.to_bytes(), limits.decompressed)?;
    match encoding {
        Encoding::Protobuf => ExportMetricsServiceRequest::decode(bytes).map_err(|error| {
            Refusal::Malformed(format!("not an ExportMetricsServiceRequest: {error}"))
        }),
        Encoding::Json => {
            json::decode(&bytes).map_err(|error| Refusal::Malformed(error.to_string()))
        }
    }
}

fn decompress(headers: &HeaderMap, compressed: Bytes, limit: usize) -> Result<Bytes, Refusal> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?"));
    match encoding {
        None | Some("" | "identity") if compressed.len() > limit => Err(Refusal::TooLarge(limit)),
        None | Some("" | "identity") => Ok(compressed),
        Some("gzip") => bounded(
            flate2::read::MultiGzDecoder::new(&*compressed),
            "gzip",
            limit,
        ),
        Some("zstd") => {
            let decoder = zstd::Decoder::new(&*compressed);
            bounded(
                decoder.map_err(|e| Refusal::Malformed(format!("zstd: {e}")))?,
                "zstd",
                limit,
            )
        }
        Some(other) => Err(Refusal::Encoding(other.to_owned())),
    }
}

/// Reads at most one byte more than is allowed, however much there is.
fn bounded(decoder: impl Read, what: &str, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(allowed)
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal::Malformed(format!("{what}: {error}")))?;
    if bytes.len() > limit {
        return Err(Refusal::TooLarge(limit));
    }
    Ok(bytes.into())
}
