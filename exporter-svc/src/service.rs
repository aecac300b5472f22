//! gRPC service for OTLP metrics that leaves message bodies encoded.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use mesh_wire::{
    compression::{Compression, DecompressError},
    otlp::{EXPORT_PATH, SERVICE_NAME, frame},
};
use tonic::{
    Request, Status,
    metadata::{MetadataMap, MetadataValue},
    server::NamedService,
};
use tower::Service;

use crate::ingest::Ingest;

/// gRPC service `MetricsService`, whose only method is Export.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    ingest: Arc<Ingest>,
    max_message_bytes: usize,
}

/// Compressions that the service accepts, as the value of `grpc-accept-encoding`.
const ACCEPTED_ENCODINGS: &str = "identity,gzip,zstd";

// === impl MetricsServer ===

impl MetricsServer {
    /// Creates a service that accepts messages of up to `max_message_bytes`, both
    /// compressed and decompressed.
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
    B: http_body::Body<Data: Send> + Send + 'static,
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
                let status = Status::unimplemented("the only method of MetricsService is Export");
                return Ok(status.into_http());
            }
            let answer = match read_message(request, max_message_bytes).await {
                Ok(request) => ingest.export(request).await,
                Err(status) => Err(status),
            };
            Ok(match answer {
                Ok(response) => {
                    let (metadata, message, _) = response.into_parts();
                    frame::response(&message, metadata)
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

/// Reads the single message of a request.
///
/// Done by hand because tonic allocates a new zstd context for each message.
async fn read_message<B>(
    request: http::Request<B>,
    max_bytes: usize,
) -> Result<Request<Bytes>, Status>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let metadata = MetadataMap::from_headers(head.headers);
    let compression = compression(&metadata)?;
    let body = Limited::new(body, max_bytes.saturating_add(frame::HEADER_BYTES));
    let body =
        body.collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => too_large(max_bytes),
                None => Status::from_error(error),
            })?;
    let unwrapped = frame::decode(body.to_bytes());
    let (is_compressed, message) =
        unwrapped.map_err(|error| Status::internal(error.to_string()))?;
    let message = match (is_compressed, compression) {
        (true, Compression::None) => {
            return Err(Status::internal(
                "the message is compressed, but grpc-encoding is missing",
            ));
        }
        (true, compression) => compression
            .decompress(message, max_bytes)
            .map_err(unreadable)?,
        (false, _) => message,
    };
    Ok(Request::from_parts(metadata, head.extensions, message))
}

fn compression(metadata: &MetadataMap) -> Result<Compression, Status> {
    let Some(named) = metadata.get("grpc-encoding") else {
        return Ok(Compression::None);
    };
    Compression::from_name(named.as_encoded_bytes()).ok_or_else(|| {
        let mut status = Status::unimplemented(format!(
            "grpc-encoding {named:?} is not supported; use one of {ACCEPTED_ENCODINGS}"
        ));
        let accepted = MetadataValue::from_static(ACCEPTED_ENCODINGS);
        status
            .metadata_mut()
            .insert("grpc-accept-encoding", accepted);
        status
    })
}

fn unreadable(error: DecompressError) -> Status {
    match error {
        DecompressError::TooLarge(limit) => too_large(limit),
        DecompressError::Malformed(error) => Status::internal(error.to_string()),
    }
}

fn too_large(limit: usize) -> Status {
    Status::out_of_range(format!(
        "the message exceeds the limit of {limit} bytes (--grpc.max-message-bytes)"
    ))
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
        codec::CompressionEncoding,
        transport::{Channel, Server, server::TcpIncoming},
    };

    use super::*;
    use crate::ingest::tests::{Backend, Scripted, batch, ingest};

    /// Serves Exports for `backend` and connects a stock tonic client.
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
    async fn serves_a_stock_client() {
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
    async fn honours_the_deadline_of_the_sender() {
        let backend = Backend::default();
        backend.script(Scripted::Delayed);
        let mut client = client(&backend, 1 << 20).await;
        let mut request = Request::new(request(&[("up", 1)]));
        // The reply margin is a twentieth of the timeout; it allows for a busy machine.
        request.set_timeout(Duration::from_secs(5));
        let status = client.export(request).await.unwrap_err();
        // The exporter's own message, not that of tonic's timer on either side.
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "no response before the deadline");
    }

    #[tokio::test]
    async fn rejects_messages_beyond_the_size_limit() {
        let client = client(&Backend::default(), 100).await;
        let name = "m".repeat(200);
        for mut client in [
            client.clone(),
            client.clone().send_compressed(CompressionEncoding::Gzip),
            client.send_compressed(CompressionEncoding::Zstd),
        ] {
            let status = client.export(request(&[(&name, 1)])).await.unwrap_err();
            assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        }
    }

    #[tokio::test]
    async fn rejects_an_unsupported_compression() {
        let service = MetricsServer::new(ingest(&[]).await, 100);
        let request = http::Request::post(EXPORT_PATH)
            .header("grpc-encoding", "snappy")
            .body(http_body_util::Full::<Bytes>::default());
        let response = tower::ServiceExt::oneshot(service, request.unwrap())
            .await
            .unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(
            response.headers()["grpc-accept-encoding"],
            ACCEPTED_ENCODINGS
        );
    }
}
