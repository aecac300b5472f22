//! Reads, decompresses and decodes the body of a push within its limits.

mod cost;
mod decompress;
mod wording;

use std::{num::NonZero, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use mesh_contract::verdict::Reason;
use mesh_wire::otlp::{schema::Kind, utf8};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    admission::Permit,
    decoded::{Decoded, RejectedPoints},
    json,
    limits::LimitArgs,
    push_error::PushError,
};

pub(crate) use decompress::{Compression, SUPPORTED};

/// Encoding of the message in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// Limits on the size and the duration of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Maximum bytes on the wire.
    pub(crate) compressed: usize,
    /// Maximum bytes after decompression.
    pub(crate) decompressed: usize,
    /// Time in which the whole body must arrive.
    pub(crate) timeout: Duration,
}

/// Size in bytes above which a body is decoded on a blocking thread, so that it does not
/// delay other requests.
const LARGE: usize = 128 << 10;

/// Places for large and compressed bodies that are decoded at the same time: one per core.
static DECODERS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Semaphore::new(cores.min(MAX_DECODERS))
});
/// Maximum number of bodies that are decoded at the same time.
const MAX_DECODERS: usize = 8;

// === impl Encoding ===

impl Encoding {
    /// Encoding that the content type names; `None` if it is not one of OTLP.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
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

// === impl BodyLimits ===

impl BodyLimits {
    pub(crate) fn new(args: &LimitArgs) -> Self {
        Self {
            compressed: args.max_compressed_bytes.in_memory(),
            decompressed: args.max_push_bytes.in_memory(),
            timeout: args.body_timeout,
        }
    }
}

/// Reads a whole body.
///
/// # Errors
/// Returns an error if the body exceeds its limits or the connection fails.
pub(crate) async fn collect<B>(
    body: B,
    limits: BodyLimits,
    permit: &mut Permit,
) -> Result<Bytes, PushError>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let collecting = collect_within(body, limits.compressed, permit);
    match timeout(limits.timeout, collecting).await {
        Ok(collected) => collected,
        Err(_) => Err(PushError::Slow(limits.timeout)),
    }
}

async fn collect_within<B>(
    mut body: B,
    limit: usize,
    permit: &mut Permit,
) -> Result<Bytes, PushError>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let too_large = || PushError::TooLarge { limit, stage: "" };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| PushError::Interrupted(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let len = collected.len() + data.len();
        if len > limit {
            return Err(too_large());
        }
        grow(&mut collected, len, 0, permit)?;
        collected.extend_from_slice(&data);
    }
    Ok(collected.into())
}

/// Grows a buffer to a capacity of at least `len`, after the memory budget has admitted both
/// the old and the new one. The permit already covers `used` bytes besides the buffer.
fn grow(
    buffer: &mut Vec<u8>,
    len: usize,
    used: usize,
    permit: &mut Permit,
) -> Result<(), PushError> {
    let old = buffer.capacity();
    if len > old {
        let new = len.max(2 * old);
        permit.grow_to(used + old + new)?;
        buffer.reserve_exact(new - buffer.len());
    }
    Ok(())
}

/// Decompresses and decodes a body.
///
/// # Errors
/// Returns an error if the body is malformed, or larger than its limit or the memory budget.
pub(crate) async fn decode(
    bytes: Bytes,
    compression: Compression,
    encoding: Encoding,
    limits: BodyLimits,
    mut permit: Permit,
) -> Result<(Decoded, Permit), PushError> {
    let large = bytes.len() > LARGE || compression != Compression::Identity;
    let decoding = move || {
        let bytes = decompress::decompress(bytes, compression, limits.decompressed, &mut permit)?;
        let decoded = decode_message(&bytes, encoding, &mut permit)?;
        Ok((decoded, permit))
    };
    if !large {
        return decoding();
    }
    // More at once would not be faster, and each decoder has a window of up to 8 MiB.
    let place = DECODERS.acquire().await;
    let decoded = tokio::task::spawn_blocking(decoding).await;
    drop(place);
    match decoded {
        Ok(decoded) => decoded,
        Err(error) => Err(PushError::Interrupted(error.to_string())),
    }
}

fn decode_message(
    bytes: &Bytes,
    encoding: Encoding,
    permit: &mut Permit,
) -> Result<Decoded, PushError> {
    let cost = match encoding {
        Encoding::Protobuf => cost::estimate_protobuf(bytes),
        Encoding::Json => cost::estimate_json(bytes),
    };
    permit.reserve_decoded(cost)?;
    match encoding {
        Encoding::Protobuf => decode_protobuf(bytes, permit),
        Encoding::Json => {
            json::decode(bytes).map_err(|error| PushError::Malformed(error.to_string()))
        }
    }
}

/// Decodes a protobuf request. If it cannot be decoded, repairs strings that are not UTF-8.
fn decode_protobuf(bytes: &Bytes, permit: &mut Permit) -> Result<Decoded, PushError> {
    let malformed = |error| {
        let problem = wording::describe(&error);
        PushError::Malformed(format!("not an ExportMetricsServiceRequest: {problem}"))
    };
    let error = match ExportMetricsServiceRequest::decode(bytes.clone()) {
        Ok(request) => return Ok(request.into()),
        Err(error) => error,
    };
    if !utf8::needs_repair(Kind::Request, bytes) {
        return Err(malformed(error));
    }
    // Memory of the repaired message, of a nested message during the repair, and of the
    // longer strings after decoding.
    permit.reserve_more(3 * utf8::MAX_GROWTH * bytes.len())?;
    let Some(repaired) = utf8::repair(Kind::Request, bytes) else {
        return Err(malformed(error));
    };
    let request = ExportMetricsServiceRequest::decode(&*repaired.message).map_err(malformed)?;
    let rejected = repaired.removed.into_iter().map(|metric| RejectedPoints {
        metric: metric.name,
        points: metric.points,
        reason: Reason::InvalidName,
        problem: utf8::INVALID_NAME,
    });
    Ok(Decoded {
        request,
        rejected: rejected.collect(),
        is_repaired: true,
    })
}
