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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    };
    use prost::Message;
    use tonic::{
        Code,
        transport::{Channel, Server, server::TcpIncoming},
    };

    use super::*;
    use crate::ingest::tests::{Backend, Scripted, batch, ingest};

    /// Serves Exports for `backend` and connects a stock client.
    async fn client(backend: &Backend, max_bytes: usize) -> MetricsServiceClient<Channel> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = MetricsServer::new(ingest(&[&backend.serve().await]).await, max_bytes);
        let serving = Server::builder().add_service(server);
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        MetricsServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap()
    }

    fn request(series: &[(&str, i64)]) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest::decode(batch(series)).unwrap()
    }

    #[tokio::test]
    async fn a_stock_client_can_talk_to_it() {
        let backend = Backend::default();
        let client = client(&backend, 1 << 20).await;
        let clients = [
            client.clone(),
            client.clone().send_compressed(CompressionEncoding::Gzip),
            client.send_compressed(CompressionEncoding::Zstd),
        ];
        for (i, mut client) in clients.into_iter().enumerate() {
            let response = client
                .export(request(&[("up", i as i64 + 1)]))
                .await
                .unwrap();
            assert_eq!(response.into_inner().partial_success, None);
        }
        assert_eq!(backend.requests().len(), 3);
    }

    #[tokio::test]
    async fn the_sender_s_deadline_holds() {
        let backend = Backend::default();
        backend.script(Scripted::Held);
        let mut client = client(&backend, 1 << 20).await;
        let mut request = Request::new(request(&[("up", 1)]));
        // Its twentieth is what a busy machine may be late.
        request.set_timeout(Duration::from_secs(5));
        let status = client.export(request).await.unwrap_err();
        // Our own words, not those of tonic's timer on either side.
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "no answer before the deadline");
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let mut client = client(&Backend::default(), 100).await;
        let name = "m".repeat(200);
        let status = client.export(request(&[(&name, 1)])).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
            "{status:?}"
        );
    }
}
