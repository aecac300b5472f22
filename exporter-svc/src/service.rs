//! gRPC service for OTLP metrics that leaves message bodies encoded.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use mesh_base::budget::Reservation;
use mesh_wire::{
    compression::{Compression, DecompressError},
    otlp::{EXPORT_PATH, SERVICE_NAME, frame},
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{
    Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    server::NamedService,
};
use tower::Service;

use crate::{
    ingest::{self, Ingest, out_of_memory},
    memory::OutOfMemory,
};

/// gRPC service `MetricsService`, whose only method is Export.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    ingest: Arc<Ingest>,
    limits: MessageLimits,
    /// Places of Exports in flight on all connections.
    places: Arc<Semaphore>,
}

/// Limits of the messages on the port.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Maximum size of a message in bytes, both compressed and decompressed.
    pub bytes: usize,
    /// Time in which a whole message must arrive.
    pub timeout: Duration,
    /// Maximum number of messages in flight on all connections.
    pub in_flight: usize,
}

/// Compressions that the service accepts, as the value of `grpc-accept-encoding`.
const ACCEPTED_ENCODINGS: &str = "identity,gzip,zstd";
/// First guess of the size of a decompressed message, as a multiple of the compressed one. If
/// it is too low, each further one is as many times higher.
const EXPANSION: usize = 16;
/// Smallest guess of the size of a decompressed message.
const MIN_DECOMPRESSED: usize = 64 << 10;

// === impl MetricsServer ===

impl MetricsServer {
    /// Creates a service that accepts messages within `limits`.
    pub fn new(ingest: Arc<Ingest>, limits: MessageLimits) -> Self {
        Self {
            ingest,
            limits,
            places: Arc::new(Semaphore::new(limits.in_flight)),
        }
    }

    /// Admits a request, reads its message and handles it.
    async fn export<B>(&self, request: http::Request<B>) -> Result<Response<Bytes>, Status>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Ok(_place) = self.places.try_acquire() else {
            let status = ingest::too_many_exports(self.limits.in_flight);
            self.ingest.record_refusal(&status);
            return Err(status);
        };
        let mut reservation = self.ingest.empty_reservation();
        let received = self.receive(request, &mut reservation).await;
        let request = received.inspect_err(|status| self.ingest.record_refusal(status))?;
        self.ingest.export_received(request, reservation).await
    }

    async fn receive<B>(
        &self,
        request: http::Request<B>,
        reservation: &mut Reservation,
    ) -> Result<Request<Bytes>, Status>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limit = self.limits.timeout;
        let reading = read_message(request, self.limits.bytes, reservation);
        let late = |_| {
            Status::deadline_exceeded(format!(
                "the message did not arrive within {limit:?} (--grpc.body-timeout)"
            ))
        };
        timeout(limit, reading).await.map_err(late)?
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
        let server = self.clone();
        Box::pin(async move {
            if request.uri().path() != EXPORT_PATH {
                let status = Status::unimplemented("the only method of MetricsService is Export");
                return Ok(status.into_http());
            }
            let answer = server.export(request).await;
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

/// Reads the single message of a request. `reservation` grows with it, before the memory is
/// allocated.
///
/// Done by hand because tonic allocates a new zstd context for each message, and as much
/// memory as a client announces.
async fn read_message<B>(
    request: http::Request<B>,
    max_bytes: usize,
    reservation: &mut Reservation,
) -> Result<Request<Bytes>, Status>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let metadata = MetadataMap::from_headers(head.headers);
    let compression = compression(&metadata)?;
    let body = collect(body, max_bytes, reservation).await?;
    let unwrapped = frame::decode(body);
    let (is_compressed, message) =
        unwrapped.map_err(|error| Status::internal(error.to_string()))?;
    let message = match (is_compressed, compression) {
        (true, Compression::None) => {
            return Err(Status::internal(
                "the message is compressed, but grpc-encoding is missing",
            ));
        }
        (true, compression) => decompress(compression, &message, max_bytes, reservation)?,
        (false, _) => message,
    };
    Ok(Request::from_parts(metadata, head.extensions, message))
}

async fn collect<B>(
    body: B,
    max_bytes: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Status>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let len = collected.len() + data.remaining();
        if len > max_bytes.saturating_add(frame::HEADER_BYTES) {
            return Err(too_large(max_bytes));
        }
        let old = collected.capacity();
        if len > old {
            let new = len.max(2 * old);
            grow(reservation, old + new)?;
            collected.reserve_exact(new - collected.len());
        }
        collected.put(&mut data);
    }
    Ok(collected.into())
}

/// Decompresses a message within the memory budget: with a low limit first, and with a higher
/// one if that is exceeded.
fn decompress(
    compression: Compression,
    message: &Bytes,
    max_bytes: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Status> {
    let mut limit = message
        .len()
        .saturating_mul(EXPANSION)
        .max(MIN_DECOMPRESSED);
    loop {
        limit = limit.min(max_bytes);
        grow(reservation, message.len().saturating_add(limit))?;
        match compression.decompress(message.clone(), limit) {
            Ok(message) => return Ok(message),
            Err(DecompressError::TooLarge(_)) if limit < max_bytes => {
                limit = limit.saturating_mul(EXPANSION);
            }
            Err(DecompressError::TooLarge(_)) => return Err(too_large(max_bytes)),
            Err(DecompressError::Malformed(error)) => {
                return Err(Status::internal(error.to_string()));
            }
        }
    }
}

fn grow(reservation: &mut Reservation, bytes: usize) -> Result<(), Status> {
    match reservation.grow_to(bytes) {
        true => Ok(()),
        false => Err(out_of_memory(OutOfMemory::Now)),
    }
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

fn too_large(limit: usize) -> Status {
    ingest::too_large(format!(
        "the message exceeds the limit of {limit} bytes (--grpc.max-message-bytes)"
    ))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    };
    use prost::Message;
    use tonic::{
        Code,
        codec::CompressionEncoding,
        transport::{Channel, Server, server::TcpIncoming},
    };

    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::ingest::tests::{Backend, Scripted, batch, ingest};

    fn limits(bytes: usize) -> MessageLimits {
        MessageLimits {
            bytes,
            timeout: Duration::from_secs(5),
            in_flight: 2,
        }
    }

    /// Serves Exports for `backend` and connects a stock tonic client.
    async fn client(backend: &Backend, max_bytes: usize) -> MetricsServiceClient<Channel> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ingest = ingest(&[&backend.serve().await]).await;
        let server = MetricsServer::new(ingest, limits(max_bytes));
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
        let service = MetricsServer::new(ingest(&[]).await, limits(100));
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

    type Frames = futures::channel::mpsc::UnboundedReceiver<Result<Frame<Bytes>, Infallible>>;
    type Sender = futures::channel::mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;

    /// A body that ends with its sender.
    fn unfinished() -> (Sender, StreamBody<Frames>) {
        let (sender, frames) = futures::channel::mpsc::unbounded();
        (sender, StreamBody::new(frames))
    }

    async fn answer(server: &MetricsServer, body: StreamBody<Frames>) -> Status {
        let request = http::Request::post(EXPORT_PATH).body(body).unwrap();
        let call = tower::ServiceExt::oneshot(server.clone(), request);
        let response = call.await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn ends_a_message_that_does_not_arrive_in_time() {
        let server = MetricsServer::new(ingest(&[]).await, limits(1 << 20));
        let (_sender, body) = unfinished();
        let status = answer(&server, body).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(status.message().contains("--grpc.body-timeout"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_budget_covers_unfinished_messages() {
        let ingest = ingest(&[]).await;
        let server = MetricsServer::new(ingest.clone(), limits(64 << 20));
        let (first, body) = unfinished();
        let waiting = tokio::spawn({
            let server = server.clone();
            async move { answer(&server, body).await }
        });
        let data = || Ok(Frame::data(vec![0; 600 << 10].into()));
        first.unbounded_send(data()).unwrap();
        while ingest.empty_reservation().grow_to(600 << 10) {
            tokio::task::yield_now().await;
        }
        // The budget of 1 MiB has no room for another one.
        let (second, body) = unfinished();
        second.unbounded_send(data()).unwrap();
        let status = answer(&server, body).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(mesh_contract::export::retry_delay(status.details()).is_some());
        drop(first);
        waiting.await.unwrap();
        assert!(ingest.empty_reservation().grow_to(1 << 20));
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_exports_beyond_the_limit_before_it_reads_them() {
        let server = MetricsServer::new(ingest(&[]).await, limits(1 << 20));
        let calls: Vec<_> = (0..2).map(|_| unfinished()).collect();
        let (senders, bodies): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let waiting = bodies.into_iter().map(|body| answer(&server, body));
        let waiting = futures::future::join_all(waiting);
        let third = async {
            tokio::task::yield_now().await;
            answer(&server, unfinished().1).await
        };
        let (_, status) = futures::future::join(waiting, third).await;
        drop(senders);
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("--ingest.max-exports"));
    }
}
