//! The gRPC service: stock OTLP on the wire, bytes inside.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use mesh::otlp::{EXPORT_PATH, RawCodec, SERVICE_NAME};
use tonic::{
    Request, Response, Status,
    codec::{CompressionEncoding, EnabledCompressionEncodings},
    server::{Grpc, NamedService, UnaryService},
};
use tower::Service;

use crate::ingest::Ingest;

/// `MetricsService`, whose only method is Export.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    ingest: Arc<Ingest>,
    max_message_bytes: usize,
}

/// The Export method.
struct Export(Arc<Ingest>);

// === impl MetricsServer ===

impl MetricsServer {
    /// Serves Exports of up to this many bytes, compressed or not.
    pub fn new(ingest: Arc<Ingest>, max_message_bytes: usize) -> Self {
        Self {
            ingest,
            max_message_bytes,
        }
    }
}

impl NamedService for MetricsServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for MetricsServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Self {
            ingest,
            max_message_bytes,
        } = self.clone();
        Box::pin(async move {
            if request.uri().path() != EXPORT_PATH {
                let status = Status::unimplemented("MetricsService has one method, Export");
                return Ok(status.into_http());
            }
            let mut accepted = EnabledCompressionEncodings::default();
            accepted.enable(CompressionEncoding::Zstd);
            accepted.enable(CompressionEncoding::Gzip);
            let mut grpc = Grpc::new(RawCodec)
                .apply_compression_config(accepted, EnabledCompressionEncodings::default())
                .apply_max_message_size_config(Some(max_message_bytes), None);
            Ok(grpc.unary(Export(ingest), request).await)
        })
    }
}

// === impl Export ===

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let ingest = Arc::clone(&self.0);
        Box::pin(async move { ingest.export(request).await })
    }
}
