//! OTLP/HTTP: `POST /v1/metrics` in protobuf or JSON.

mod cors;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use serde_json::json;

use crate::{
    body::{Compression, Encoding},
    intake::Taken,
    pushes::{Hints, Pushes},
    refusal::Refusal,
};

pub use cors::{CorsArgs, Origin};

type Answer = Response<Full<Bytes>>;

const PATH: &str = "/v1/metrics";

/// Answers one request.
pub(crate) async fn answer(pushes: Pushes, cors: CorsArgs, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let mut answer = match (&parts.method, parts.uri.path()) {
        (&Method::POST, PATH) => export(&pushes, &parts, body).await,
        (&Method::OPTIONS, PATH) => preflight(&cors, &parts),
        (_, PATH) => {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "expected POST");
            let allow = HeaderValue::from_static("POST, OPTIONS");
            answer.headers_mut().insert(header::ALLOW, allow);
            answer
        }
        (_, "/v1/traces" | "/v1/logs") => {
            text(StatusCode::NOT_FOUND, "promesh carries metrics only")
        }
        _ => text(StatusCode::NOT_FOUND, "metrics are taken at /v1/metrics"),
    };
    cors.allow(&parts.headers, answer.headers_mut());
    answer
}

async fn export(pushes: &Pushes, parts: &Parts, body: Incoming) -> Answer {
    let encoding = Encoding::of(&parts.headers);
    let taken = match encoding {
        Some(encoding) => take(pushes, parts, body, encoding).await,
        None => Err(Refusal::ContentType(
            "Content-Type: expected application/x-protobuf or application/json".to_owned(),
        )),
    };
    let status = taken
        .as_ref()
        .map_or_else(Refusal::http_status, |_| StatusCode::OK);
    pushes.answered("http", status.as_u16(), &taken);
    match (taken, encoding) {
        (Ok(taken), Some(encoding)) => success(encoding, &taken),
        (Ok(_), None) => text(StatusCode::OK, ""),
        (Err(refusal), Some(encoding)) => failure(encoding, &refusal),
        (Err(refusal), None) => text(status, &refusal.to_string()),
    }
}

async fn take(
    pushes: &Pushes,
    parts: &Parts,
    body: Incoming,
    encoding: Encoding,
) -> Result<Taken, Refusal> {
    let named = parts.headers.get(header::CONTENT_ENCODING);
    let compression = Compression::named(named.map(HeaderValue::as_bytes))?;
    let received = pushes.receive(parts, body).await?;
    pushes
        .take(received, compression, encoding, Hints::default())
        .await
}

/// Browsers ask before they push to another origin.
fn preflight(cors: &CorsArgs, parts: &Parts) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = match cors.preflight(&parts.headers, answer.headers_mut()) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::FORBIDDEN,
    };
    answer
}

fn success(encoding: Encoding, taken: &Taken) -> Answer {
    let response = taken.response();
    let body = match encoding {
        Encoding::Protobuf => response.encode_to_vec(),
        Encoding::Json => json_response(&response),
    };
    of_type(StatusCode::OK, encoding.content_type(), body)
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

/// A `google.rpc.Status`, spelled as the request was.
fn failure(encoding: Encoding, refusal: &Refusal) -> Answer {
    let body = match encoding {
        Encoding::Protobuf => refusal.details().to_vec(),
        Encoding::Json => json_status(refusal),
    };
    let mut answer = of_type(refusal.http_status(), encoding.content_type(), body);
    let headers = answer.headers_mut();
    if let Some(after) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    match refusal {
        Refusal::Unauthenticated(_) => {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        Refusal::Encoding(_) => {
            let accepted = HeaderValue::from_static("gzip, zstd, deflate");
            headers.insert(header::ACCEPT_ENCODING, accepted);
        }
        _ => {}
    }
    answer
}

fn json_status(refusal: &Refusal) -> Vec<u8> {
    let mut status = json!({"code": refusal.code() as i32, "message": refusal.to_string()});
    if let Some(after) = refusal.retry_after() {
        status["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", after.as_secs_f64()),
        }]);
    }
    status.to_string().into_bytes()
}

fn text(status: StatusCode, why: &str) -> Answer {
    of_type(
        status,
        "text/plain; charset=utf-8",
        format!("{why}\n").into_bytes(),
    )
}

fn of_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}
