//! OTLP/gRPC.

use std::{sync::Arc, time::Duration};

use mesh::{export::retry_info, shutdown::Shutdown};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_server::{MetricsService, MetricsServiceServer},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::{
    Code, Request, Response, Status,
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    Error,
    args::Args,
    intake::{Busy, Intake},
};

/// An idle client is asked this often whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// What a connection past its age is given to finish.
const AGE_GRACE: Duration = Duration::from_secs(60);

/// The Export method.
struct Service {
    intake: Intake,
    pushes: Arc<Semaphore>,
}

/// Serves until it is time to stop and the pushes under way are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    args: &Args,
    intake: Intake,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let pushes = Arc::new(Semaphore::new(args.max_concurrent_pushes));
    let service = MetricsServiceServer::new(Service { intake, pushes })
        .max_decoding_message_size(args.max_push_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    Server::builder()
        .max_concurrent_streams(args.max_concurrent_streams)
        .max_connection_age(Duration::from_secs(args.max_connection_age_seconds))
        .max_connection_age_grace(AGE_GRACE)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
            shutdown.signaled().await;
        })
        .await
        .map_err(|source| Error::Serve {
            server: "OTLP/gRPC",
            source: source.into(),
        })
}

// === impl Service ===

impl Service {
    async fn take(
        &self,
        request: ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, Busy> {
        let Ok(_permit) = self.pushes.try_acquire() else {
            return Err(Busy::new("too many pushes are under way", 1));
        };
        self.intake.take(request).await
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let answer = self.take(request.into_inner()).await;
        let answer = answer.map(Response::new).map_err(|busy| status(&busy));
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.intake.metrics().answered("grpc", format!("{code:?}"));
        answer
    }
}

/// RESOURCE_EXHAUSTED with the time to come back, as the OTLP specification wants
/// it of a server that can recover ("OTLP/gRPC Throttling").
fn status(busy: &Busy) -> Status {
    let code = Code::ResourceExhausted;
    let details = retry_info(code, busy.why, busy.after);
    Status::with_details(code, busy.why, details)
}
