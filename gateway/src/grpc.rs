//! OTLP/gRPC: `MetricsService/Export`.
//!
//! A unary call is one framed message each way, simple enough to handle here. A generated
//! server reads the body before authentication. It also rejects large bodies with
//! OUT_OF_RANGE, which OTLP clients retry forever.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use mesh_contract::export::parse_timeout;
use mesh_net::server::RequestBody;
use mesh_wire::otlp::{EXPORT_PATH, frame};
use prost::Message;
use tonic::{Code, Status, body::Body, metadata::MetadataMap};

use crate::{
    body::{Compression, Encoding},
    delta::HOP_KEY,
    export_result::ExportResult,
    handler::{PushHandler, PushOptions},
    push_error::PushError,
};

/// Supported compressions, for the `grpc-accept-encoding` header.
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate,snappy,lz4");
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// Minimum time between the gateway's response and the client's timeout. The margin is a
/// twentieth of the timeout, within the minimum and the maximum.
const MIN_MARGIN: Duration = Duration::from_millis(20);
/// Maximum time between the gateway's response and the client's timeout.
const MAX_MARGIN: Duration = Duration::from_millis(500);

/// Handles one request.
pub(crate) async fn handle(handler: PushHandler, request: Request<RequestBody>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !is_grpc(&parts) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        handler.metrics().record_response("grpc", 415);
        return response;
    }
    if parts.uri.path() != EXPORT_PATH {
        handler.metrics().record_response("grpc", "Unimplemented");
        let message = format!("{}: promesh supports metrics only", parts.uri.path());
        return Status::unimplemented(message).into_http();
    }
    let result = export(&handler, &parts, body).await;
    let code = result.as_ref().map_or_else(PushError::code, |_| Code::Ok);
    handler.record_response("grpc", format!("{code:?}"), &result);
    match result {
        Ok(result) => success(&result),
        Err(error) => failure(&error),
    }
}

async fn export(
    handler: &PushHandler,
    parts: &Parts,
    body: RequestBody,
) -> Result<ExportResult, PushError> {
    let encoding = parts.headers.get("grpc-encoding");
    let (framed, permit) = handler.receive(parts, body).await?;
    let malformed = |error: frame::MalformedFrame| PushError::Malformed(error.to_string());
    let (compressed, message) = frame::decode(framed).map_err(malformed)?;
    let compression = if compressed {
        Compression::from_header(encoding.map(HeaderValue::as_bytes))?
    } else {
        Compression::Identity
    };
    let timeout = parts.headers.get("grpc-timeout");
    let timeout = timeout.and_then(|value| parse_timeout(value.to_str().ok()?));
    let timeout =
        timeout.map(|timeout| timeout.saturating_sub((timeout / 20).clamp(MIN_MARGIN, MAX_MARGIN)));
    let from_peer = parts.headers.contains_key(HOP_KEY);
    handler
        .process(
            (message, permit),
            compression,
            Encoding::Protobuf,
            PushOptions { timeout, from_peer },
        )
        .await
}

fn is_grpc(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    parts.method == Method::POST
        && content_type.is_some_and(|value| {
            let value = value.as_bytes();
            value == b"application/grpc"
                || value.starts_with(b"application/grpc+proto")
                || value.starts_with(b"application/grpc;")
        })
}

/// Builds the response: one message, with the verdict for our own senders in metadata.
fn success(result: &ExportResult) -> Response<Body> {
    let mut metadata = MetadataMap::new();
    result.verdict.write(&mut metadata);
    frame::response(&result.response().encode_to_vec(), metadata)
}

fn failure(error: &PushError) -> Response<Body> {
    let mut response = error.status().into_http();
    if matches!(error, PushError::Encoding(_)) {
        response.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED);
    }
    response
}
