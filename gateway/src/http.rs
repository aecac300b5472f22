//! OTLP/HTTP: `POST /v1/metrics` in protobuf or JSON.

mod body;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use mesh::{export::retry_info, shutdown::Shutdown};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::Code;

use crate::{
    Error,
    args::Args,
    intake::{Busy, Intake},
};
use body::{Encoding, Refusal};

/// What the handlers need.
#[derive(Clone)]
struct Server {
    intake: Intake,
    pushes: Arc<Semaphore>,
    limits: body::Limits,
}

/// Serves until it is time to stop and the pushes under way are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    args: &Args,
    intake: Intake,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let server = Server {
        intake,
        pushes: Arc::new(Semaphore::new(args.max_concurrent_pushes)),
        limits: body::Limits {
            compressed: args.max_compressed_bytes,
            decompressed: args.max_push_bytes,
        },
    };
    let router = Router::new()
        .route("/v1/metrics", post(export).options(preflight))
        .fallback(not_found)
        .with_state(server);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.signaled().await })
        .await
        .map_err(|source| Error::Serve {
            server: "OTLP/HTTP",
            source: source.into(),
        })
}

async fn export(State(server): State<Server>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some(encoding) = Encoding::of(&parts.headers) else {
        server.intake.metrics().answered("http", 415);
        let why = "Content-Type: expected application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    };
    let answer = server.answer(encoding, &parts.headers, body).await;
    server
        .intake
        .metrics()
        .answered("http", answer.status().as_u16());
    allow_origin(&parts.headers, answer)
}

async fn not_found(request: Request<Body>) -> impl IntoResponse {
    let path = request.uri().path();
    let why = match path {
        "/v1/traces" | "/v1/logs" => format!("{path}: promesh carries metrics only\n"),
        _ => format!("{path}: not here, metrics are taken at /v1/metrics\n"),
    };
    (StatusCode::NOT_FOUND, why)
}

/// Browsers ask before they push to another origin.
async fn preflight(headers: HeaderMap) -> Response<Body> {
    let mut answer = allow_origin(&headers, StatusCode::NO_CONTENT.into_response());
    let allow = |name: &'static str, value| {
        (
            header::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    answer.headers_mut().extend([
        allow("access-control-allow-methods", "POST, OPTIONS"),
        allow("access-control-allow-headers", "*"),
        allow("access-control-max-age", "7200"),
    ]);
    answer
}

/// Nothing here depends on who asks, so that any origin may.
fn allow_origin(headers: &HeaderMap, mut answer: Response<Body>) -> Response<Body> {
    if headers.contains_key(header::ORIGIN) {
        let any = HeaderValue::from_static("*");
        answer
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    }
    answer
}

// === impl Server ===

impl Server {
    async fn answer(&self, encoding: Encoding, headers: &HeaderMap, body: Body) -> Response<Body> {
        let Ok(_permit) = self.pushes.try_acquire() else {
            return busy(encoding, &Busy::new("too many pushes are under way", 1));
        };
        let request = match body::read(encoding, headers, body, self.limits).await {
            Ok(request) => request,
            Err(refusal) => return refused(encoding, &refusal),
        };
        match self.intake.take(request).await {
            Ok(response) => success(encoding, &response),
            Err(reason) => busy(encoding, &reason),
        }
    }
}

fn success(encoding: Encoding, response: &ExportMetricsServiceResponse) -> Response<Body> {
    let body = match (encoding, &response.partial_success) {
        (Encoding::Protobuf, _) => response.encode_to_vec(),
        (Encoding::Json, None) => b"{}".to_vec(),
        (Encoding::Json, Some(partial)) => json!({"partialSuccess": {
            // 64-bit integers are strings in protobuf's JSON.
            "rejectedDataPoints": partial.rejected_data_points.to_string(),
            "errorMessage": partial.error_message,
        }})
        .to_string()
        .into_bytes(),
    };
    answer(StatusCode::OK, encoding, body)
}

/// Told to come back: 429 with the time, and the same as a `google.rpc.Status`.
fn busy(encoding: Encoding, busy: &Busy) -> Response<Body> {
    let code = Code::ResourceExhausted;
    let details = retry_info(code, busy.why, busy.after);
    let mut answer = failure(
        StatusCode::TOO_MANY_REQUESTS,
        encoding,
        code,
        busy.why,
        &details,
    );
    let seconds = busy.after.as_secs().max(1);
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.into());
    answer
}

fn refused(encoding: Encoding, refusal: &Refusal) -> Response<Body> {
    let (status, code) = match refusal {
        Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument),
        Refusal::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument),
        Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
        Refusal::Interrupted(_) => (StatusCode::REQUEST_TIMEOUT, Code::Unavailable),
    };
    let why = refusal.to_string();
    let details = mesh::export::rpc_status(code, &why);
    failure(status, encoding, code, &why, &details)
}

fn failure(
    status: StatusCode,
    encoding: Encoding,
    code: Code,
    why: &str,
    encoded: &[u8],
) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => encoded.to_vec(),
        Encoding::Json => json!({"code": code as i32, "message": why})
            .to_string()
            .into_bytes(),
    };
    answer(status, encoding, body)
}

fn answer(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response<Body> {
    (
        status,
        [(header::CONTENT_TYPE, encoding.content_type())],
        body,
    )
        .into_response()
}
