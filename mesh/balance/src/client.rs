//! Sends one Export over one connection, as a unary gRPC call.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::Full;
use tokio::time::Instant;
use tonic::{Code, Request, Status, Streaming, body::Body, metadata::MetadataMap};

use mesh_base::{
    blocking::{self, BLOCKING_BYTES},
    error::causes,
};
use mesh_contract::{
    export::{self, Export, ExportError},
    report::ExportResponse,
};
use mesh_wire::{
    compression::Compression,
    otlp::{RawCodec, frame},
};

use crate::connection::Connection;

/// Maximum size of a response, which carries counts and a message but no data.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Sends one Export and reads its response.
pub(crate) async fn send(
    connection: Connection,
    uri: Uri,
    export: Export,
    compression: Compression,
) -> Result<ExportResponse, ExportError> {
    let headers = headers(&export, compression);
    let message = framed(export.payload, compression).await;
    let message = message.map_err(|error| ExportError::Unsent(error.into()))?;
    let mut request = http::Request::new(Body::new(Full::new(message)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    match exchange(connection, request).await {
        Ok((metadata, body)) => Ok(ExportResponse::read(&metadata, body)),
        Err(status) if is_unsent(&status) => Err(ExportError::Unsent(status.into())),
        Err(status) => export::failure(status, export.samples),
    }
}

/// Compresses and frames the payload. tonic's own client would create a zstd context for
/// each message.
async fn framed(payload: Bytes, compression: Compression) -> io::Result<Bytes> {
    let is_long = payload.len() >= BLOCKING_BYTES && compression != Compression::None;
    let frame = move || {
        let message = compression.compress(payload)?;
        Ok(frame::encode(compression != Compression::None, &message))
    };
    if is_long {
        blocking::run(frame).await
    } else {
        frame()
    }
}

fn headers(export: &Export, compression: Compression) -> HeaderMap {
    let mut request = Request::new(());
    request.set_timeout(export.deadline.saturating_duration_since(Instant::now()));
    export.write(request.metadata_mut());
    let mut headers = request.into_parts().0.into_headers();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    let encoding = HeaderValue::from_static(compression.name());
    headers.insert("grpc-encoding", encoding);
    headers
}

/// Sends the request and reads the metadata and the message of its response.
async fn exchange(
    mut connection: Connection,
    request: http::Request<Body>,
) -> Result<(MetadataMap, Bytes), Status> {
    let response = connection.send_request(request).await;
    let response = response.map_err(|error| Status::from_error(error.into()))?;
    let (head, body) = response.into_parts();
    let status = Status::from_header_map(&head.headers);
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    let limit = Some(MAX_RESPONSE_BYTES);
    let mut messages = Streaming::new_response(RawCodec, body, head.status, None, limit);
    let message = messages.message().await?;
    let message = message.ok_or_else(|| Status::internal("no message in the response"))?;
    let mut headers = head.headers;
    if let Some(trailers) = messages.trailers().await? {
        headers.extend(trailers.into_headers());
    }
    Ok((MetadataMap::from_headers(headers), message))
}

/// Returns true if the connection returned the request before it sent any part of it.
fn is_unsent(status: &Status) -> bool {
    let hyper = causes(status).find_map(|error| error.downcast_ref::<hyper::Error>());
    hyper.is_some_and(hyper::Error::is_canceled)
}
