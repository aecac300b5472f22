//! OTLP/HTTP: `POST /v1/metrics` in protobuf or JSON, also under Prometheus's path.

mod cors;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use mesh_net::server::RequestBody;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use serde_json::json;

use crate::{
    body::{Compression, Encoding, SUPPORTED},
    export_result::ExportResult,
    handler::{PushHandler, PushOptions},
    push_error::PushError,
};

pub use cors::{CorsArgs, Origin};

type HttpResponse = Response<Full<Bytes>>;

/// Kinds of resources that this port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    /// Traces or logs.
    OtherSignal,
    Unknown,
}

/// Prefix of OTLP paths in Prometheus. With it, a client that moves from Prometheus's OTLP
/// receiver to the gateway changes only the host.
const PROMETHEUS_PREFIX: &str = "/api/v1/otlp";

/// Handles one request.
pub(crate) async fn handle(
    handler: PushHandler,
    cors: CorsArgs,
    request: Request<RequestBody>,
) -> HttpResponse {
    let (parts, body) = request.into_parts();
    let mut response = match (&parts.method, Route::of(parts.uri.path())) {
        (&Method::POST, Route::Metrics) => export(&handler, &parts, body).await,
        (&Method::OPTIONS, Route::Metrics) => preflight(&cors, &parts),
        (_, Route::Metrics) => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "expected POST");
            let allow = HeaderValue::from_static("POST, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
        (_, Route::OtherSignal) => text(StatusCode::NOT_FOUND, "promesh supports metrics only"),
        (_, Route::Unknown) => text(
            StatusCode::NOT_FOUND,
            "not found; send metrics to /v1/metrics",
        ),
    };
    cors.allow(&parts.headers, response.headers_mut());
    response
}

// === impl Route ===

impl Route {
    fn of(path: &str) -> Self {
        match path.strip_prefix(PROMETHEUS_PREFIX).unwrap_or(path) {
            "/v1/metrics" => Self::Metrics,
            "/v1/traces" | "/v1/logs" => Self::OtherSignal,
            _ => Self::Unknown,
        }
    }
}

async fn export(handler: &PushHandler, parts: &Parts, body: RequestBody) -> HttpResponse {
    let encoding = Encoding::from_headers(&parts.headers);
    let result = match encoding {
        Some(encoding) => process(handler, parts, body, encoding).await,
        None => Err(PushError::ContentType(
            "unsupported Content-Type, expected application/x-protobuf or application/json"
                .to_owned(),
        )),
    };
    let status = result
        .as_ref()
        .map_or_else(PushError::http_status, |_| StatusCode::OK);
    handler.record_response("http", status.as_u16(), &result);
    match (result, encoding) {
        (Ok(result), Some(encoding)) => success(encoding, &result),
        (Ok(_), None) => text(StatusCode::OK, ""),
        (Err(error), Some(encoding)) => failure(encoding, &error),
        (Err(error), None) => text(status, &error.to_string()),
    }
}

async fn process(
    handler: &PushHandler,
    parts: &Parts,
    body: RequestBody,
    encoding: Encoding,
) -> Result<ExportResult, PushError> {
    let content_encoding = parts.headers.get(header::CONTENT_ENCODING);
    let compression = Compression::from_header(content_encoding.map(HeaderValue::as_bytes))?;
    let received = handler.receive(parts, body).await?;
    handler
        .process(received, compression, encoding, PushOptions::default())
        .await
}

/// Handles the preflight request that a browser sends before a push to another origin.
fn preflight(cors: &CorsArgs, parts: &Parts) -> HttpResponse {
    let mut response = Response::new(Full::default());
    let allowed = cors.preflight(&parts.headers, response.headers_mut());
    *response.status_mut() = if allowed {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::FORBIDDEN
    };
    response
}

fn success(encoding: Encoding, result: &ExportResult) -> HttpResponse {
    let response = result.response();
    let body = match encoding {
        Encoding::Protobuf => response.encode_to_vec(),
        Encoding::Json => json_response(&response),
    };
    with_body(StatusCode::OK, encoding.content_type(), body)
}

fn json_response(response: &ExportMetricsServiceResponse) -> Vec<u8> {
    let Some(partial) = &response.partial_success else {
        return b"{}".to_vec();
    };
    let partial = json!({"partialSuccess": {
        // 64-bit integers are strings in protobuf's JSON.
        "rejectedDataPoints": partial.rejected_data_points.to_string(),
        "errorMessage": partial.error_message,
    }});
    partial.to_string().into_bytes()
}

/// Builds a `google.rpc.Status` response in the encoding of the request.
fn failure(encoding: Encoding, error: &PushError) -> HttpResponse {
    let body = match encoding {
        Encoding::Protobuf => error.details(),
        Encoding::Json => json_status(error),
    };
    let mut response = with_body(error.http_status(), encoding.content_type(), body);
    let headers = response.headers_mut();
    if let Some(after) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    match error {
        PushError::Unauthenticated(_) => {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        PushError::Encoding(_) => {
            let accepted = HeaderValue::from_static(SUPPORTED);
            headers.insert(header::ACCEPT_ENCODING, accepted);
        }
        _ => {}
    }
    response
}

fn json_status(error: &PushError) -> Vec<u8> {
    let mut status = json!({"code": error.code() as i32, "message": error.to_string()});
    if let Some(after) = error.retry_after() {
        status["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", after.as_secs_f64()),
        }]);
    }
    status.to_string().into_bytes()
}

fn text(status: StatusCode, message: &str) -> HttpResponse {
    with_body(
        status,
        "text/plain; charset=utf-8",
        format!("{message}\n").into_bytes(),
    )
}

fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> HttpResponse {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
