//! OTLP/gRPC: `MetricsService/Export`.
//!
//! A unary call is one framed message each way, which is little enough to read
//! here: a generated server would read a body before it knows whose it is, and
//! answer one that is too large with OUT_OF_RANGE, which OTLP clients send again
//! and again.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use mesh::{
    export::parse_timeout,
    otlp::{EXPORT_PATH, frame},
};
use prost::Message;
use tonic::{Code, Status, body::Body, metadata::MetadataMap};

use crate::{
    body::{Compression, Encoding},
    delta::HOP_KEY,
    intake::Taken,
    pushes::{Hints, Pushes},
    refusal::Refusal,
};

/// Compressions that are spoken, as gRPC tells them.
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// An answer is on its way this long before the client gives up: a twentieth of
/// its time, within these bounds.
const MIN_MARGIN: Duration = Duration::from_millis(20);
const MAX_MARGIN: Duration = Duration::from_millis(500);

/// Answers one request.
pub(crate) async fn answer(pushes: Pushes, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !is_grpc(&parts) {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        pushes.metrics().answered("grpc", 415);
        return refused;
    }
    if parts.uri.path() != EXPORT_PATH {
        pushes.metrics().answered("grpc", "Unimplemented");
        let why = format!("{}: promesh takes metrics only", parts.uri.path());
        return Status::unimplemented(why).into_http();
    }
    let answer = export(&pushes, &parts, body).await;
    let code = answer.as_ref().map_or_else(Refusal::code, |_| Code::Ok);
    pushes.answered("grpc", format!("{code:?}"), &answer);
    match answer {
        Ok(taken) => success(&taken),
        Err(refusal) => failure(&refusal),
    }
}

async fn export(pushes: &Pushes, parts: &Parts, body: Incoming) -> Result<Taken, Refusal> {
    let named = parts.headers.get("grpc-encoding");
    let (framed, admitted) = pushes.receive(parts, body).await?;
    let malformed = |error: frame::MalformedFrame| Refusal::Malformed(error.to_string());
    let (compressed, message) = frame::unwrap(framed).map_err(malformed)?;
    let compression = match compressed {
        true => Compression::named(named.map(HeaderValue::as_bytes))?,
        false => Compression::Identity,
    };
    let timeout = parts.headers.get("grpc-timeout");
    let timeout = timeout.and_then(|value| parse_timeout(value.to_str().ok()?));
    let timeout =
        timeout.map(|timeout| timeout.saturating_sub((timeout / 20).clamp(MIN_MARGIN, MAX_MARGIN)));
    let passed_on = parts.headers.contains_key(HOP_KEY);
    pushes
        .take(
            (message, admitted),
            compression,
            Encoding::Protobuf,
            Hints { timeout, passed_on },
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

/// One message, and what our own senders want to know in metadata.
fn success(taken: &Taken) -> Response<Body> {
    let mut metadata = MetadataMap::new();
    taken.verdict.write(&mut metadata);
    frame::answer(&taken.response().encode_to_vec(), metadata)
}

fn failure(refusal: &Refusal) -> Response<Body> {
    let mut answer = refusal.status().into_http();
    if matches!(refusal, Refusal::Encoding(_)) {
        answer.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED);
    }
    answer
}
