//! The body of a push: read, decompressed and decoded within its limits, whichever
//! protocol it came by.

mod cost;
mod decompress;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio::time::timeout;

use crate::{admission::Admitted, args::LimitArgs, json, refusal::Refusal};

pub(crate) use decompress::Compression;

/// How a body spells its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes on the wire.
    pub(crate) compressed: usize,
    /// Bytes once decompressed.
    pub(crate) decompressed: usize,
    /// How long it may take to come.
    pub(crate) timeout: Duration,
}

/// A body of more bytes is decoded beside the runtime's threads, which have others
/// to serve.
const LARGE: usize = 128 << 10;

// === impl Encoding ===

impl Encoding {
    /// The encoding that the content type names.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next()?.trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(args: &LimitArgs) -> Self {
        Self {
            compressed: args.max_compressed_bytes,
            decompressed: args.max_push_bytes,
            timeout: Duration::from_secs(args.body_timeout_seconds),
        }
    }
}

/// Reads all of a body.
pub(crate) async fn collect<B>(
    body: B,
    limits: Limits,
    admitted: &mut Admitted,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let collecting = collect_within(body, limits.compressed, admitted);
    match timeout(limits.timeout, collecting).await {
        Ok(collected) => collected,
        Err(_) => Err(Refusal::Slow(limits.timeout)),
    }
}

async fn collect_within<B>(
    mut body: B,
    limit: usize,
    admitted: &mut Admitted,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let too_large = || Refusal::TooLarge { limit, what: "" };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Interrupted(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let len = collected.len() + data.len();
        if len > limit {
            return Err(too_large());
        }
        admitted.grow_to(len)?;
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// Decompresses and decodes a body.
pub(crate) async fn decode(
    bytes: Bytes,
    compression: Compression,
    encoding: Encoding,
    limits: Limits,
    mut admitted: Admitted,
) -> Result<(ExportMetricsServiceRequest, Admitted), Refusal> {
    let large = bytes.len() > LARGE || compression != Compression::Identity;
    let decoding = move || {
        let bytes = decompress::decompress(bytes, compression, limits.decompressed, &mut admitted)?;
        let request = decode_message(&bytes, encoding, &mut admitted)?;
        Ok((request, admitted))
    };
    if !large {
        return decoding();
    }
    match tokio::task::spawn_blocking(decoding).await {
        Ok(decoded) => decoded,
        Err(error) => Err(Refusal::Interrupted(error.to_string())),
    }
}

fn decode_message(
    bytes: &Bytes,
    encoding: Encoding,
    admitted: &mut Admitted,
) -> Result<ExportMetricsServiceRequest, Refusal> {
    let cost = match encoding {
        Encoding::Protobuf => cost::of_protobuf(bytes),
        Encoding::Json => cost::of_json(bytes),
    };
    admitted.afford(cost)?;
    match encoding {
        Encoding::Protobuf => ExportMetricsServiceRequest::decode(bytes.clone()).map_err(|error| {
            Refusal::Malformed(format!("not an ExportMetricsServiceRequest: {error}"))
        }),
        Encoding::Json => {
            json::decode(bytes).map_err(|error| Refusal::Malformed(error.to_string()))
        }
    }
}
