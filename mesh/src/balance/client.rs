//! One Export over one connection.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Uri, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::{Request, Status, body::Body, client::Grpc, codec::CompressionEncoding};
use tower::Service;

use super::connection::Connection;
use crate::{
    export::{self, Export, ExportError},
    otlp::{EXPORT_PATH, RawCodec},
    verdict::Verdict,
};

/// A response carries counts and a message, never data.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Sends one Export and reads its verdict.
pub(super) async fn send(
    connection: Connection,
    origin: &Uri,
    export: Export,
    compression: Option<CompressionEncoding>,
) -> Result<Verdict, ExportError> {
    let mut grpc = Grpc::with_origin(Http2(connection), origin.clone())
        .max_decoding_message_size(MAX_RESPONSE_BYTES)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    if let Some(encoding) = compression {
        grpc = grpc.send_compressed(encoding);
    }
    let mut request = Request::new(export.payload);
    request.set_timeout(export.deadline.saturating_duration_since(Instant::now()));
    export.facts.write(request.metadata_mut());
    export.progress.write(request.metadata_mut());
    let path = PathAndQuery::from_static(EXPORT_PATH);
    match grpc.unary(request, path, RawCodec).await {
        Ok(response) => {
            let (metadata, body, _) = response.into_parts();
            Ok(export::verdict(&metadata, body))
        }
        Err(status) if was_never_sent(&status) => Err(ExportError::Unsent(status.into())),
        Err(status) => export::failure(status, export.samples),
    }
}

/// Whether the connection gave the request back before any of it was sent.
fn was_never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
            return hyper.is_canceled();
        }
        source = error.source();
    }
    false
}

/// A connection as the service that tonic's client wants.
struct Http2(Connection);

// === impl Http2 ===

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
