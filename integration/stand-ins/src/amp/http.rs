//! HTTP endpoints of the stand-in: remote write, queries, and its own pages for the ledger
//! and the faults.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State as Extract},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mesh_base::clock::Clock;
use mesh_model::labels::{Labels, METRIC_NAME};
use serde::Deserialize;
use serde_json::json;

use super::{
    Backend, Fault, Intake, State, Store, WORKSPACE,
    decode::{self, Incoming, Value},
    ledger::{Arrival, Outcome},
    selector::Selector,
    sigv4_check::{Signed, verify},
    store::{Sample, Series},
};

const MAX_BODY: usize = 64 << 20;
const CLUSTER: &str = "cluster";
const REPLICA: &str = "__replica__";
/// Prefix of Cortex's error messages about samples.
const USER: &str = "rpc error: code = Code(400) desc = user=ws-0";

pub(super) fn router(backend: Backend) -> Router {
    let workspace = Router::new()
        .route("/api/v1/remote_write", post(remote_write))
        .route("/api/v1/query", get(query))
        .route("/ledger", get(ledger))
        .route("/faults", post(set_fault))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(backend);
    Router::new().nest(WORKSPACE, workspace)
}

async fn remote_write(
    Extract(backend): Extract<Backend>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now_ms = backend.options.clock.now_ms();
    let keys = backend.state().keys.clone();
    if let Some(keys) = &keys {
        // The nested router has removed the prefix, but the client signed the full path.
        let path = format!("{WORKSPACE}{}", uri.path());
        let signed = Signed {
            method: method.as_str(),
            path: &path,
            query: uri.query().unwrap_or_default(),
            headers: &headers,
            body: &body,
        };
        if let Err(error) = verify(keys, signed, now_ms / 1000) {
            let message = json!({ "message": error.to_string() });
            return (StatusCode::FORBIDDEN, Json(message)).into_response();
        }
    }
    if let Some(intake) = &backend.options.intake {
        return match apply_fault(backend.faults.take().as_ref()).await {
            Some(failure) => failure,
            None => handle(&**intake, &body, &backend.options.clock),
        };
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let incoming = decode::decode(&body, content_type.unwrap_or_default());
    // A health probe has no series and comes at any time. It does not consume the
    // failures that a test scripted for samples.
    let fault = match &incoming {
        Ok(incoming) if incoming.series.is_empty() => backend.faults.persistent(),
        _ => backend.faults.take(),
    };
    if let Some(failure) = apply_fault(fault.as_ref()).await {
        return failure;
    }
    let response = match (&backend.options.upstream, incoming) {
        (Some(upstream), incoming) => {
            upstream
                .forward(&backend, &headers, body, incoming.ok())
                .await
        }
        (None, Ok(incoming)) => match backend.ingest(&incoming, fault.as_ref(), None) {
            Ok(code) => code.into_response(),
            Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
        },
        (None, Err(error)) => (StatusCode::BAD_REQUEST, format!("{error:#}")).into_response(),
    };
    if fault == Some(Fault::StoreAndHang) {
        std::future::pending().await
    }
    response
}

/// Applies a fault that does not depend on the content of the request. Returns `None` if
/// the request is to be ingested.
async fn apply_fault(fault: Option<&Fault>) -> Option<Response> {
    match fault? {
        Fault::Status {
            code,
            body,
            retry_after,
        } => {
            let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert(header::RETRY_AFTER, (*seconds).into());
            }
            Some((code, headers, body.clone()).into_response())
        }
        Fault::Hang => std::future::pending().await,
        Fault::Slow(delay) => {
            tokio::time::sleep(*delay).await;
            None
        }
        Fault::StoreAndHang
        | Fault::RejectMetric(_)
        | Fault::SeriesLimit
        | Fault::RejectWholeRequests
        | Fault::RejectMetricAndWholeRequests(_) => None,
    }
}

fn has_name(labels: &Labels, name: &str) -> bool {
    labels.get(METRIC_NAME) == Some(name)
}

/// Handles a request with an [`Intake`].
fn handle(intake: &dyn Intake, body: &[u8], clock: &Clock) -> Response {
    let request = decode::decompress(body).map_err(|error| format!("{error:#}"));
    match request.and_then(|request| intake.handle(&request, clock.now_ms())) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
    }
}

// === impl Backend ===

impl Backend {
    /// Stores a request as the backend would.
    ///
    /// Returns 200 or 202, or the first error message for a 400. After a 400, the valid
    /// samples are stored nevertheless. `elected` is the HA decision of a real backend, if
    /// there is one.
    pub(super) fn ingest(
        &self,
        incoming: &Incoming,
        fault: Option<&Fault>,
        elected: Option<bool>,
    ) -> Result<StatusCode, String> {
        let now_ms = self.options.clock.now_ms();
        if incoming.series.is_empty() {
            // As in Cortex: a success without any effect on the election.
            return Ok(StatusCode::OK);
        }
        let mut state = self.state();
        let state = &mut *state;
        let request = state.ledger.begin_request();
        let first = incoming.series.first().map(|series| &series.labels);
        let pair = first.and_then(|labels| Some((labels.get(CLUSTER)?, labels.get(REPLICA)?)));
        let elected = pair.is_none_or(|(cluster, replica)| match elected {
            Some(elected) => state.ha.record(cluster, replica, now_ms, elected),
            None => state.ha.accepts(cluster, replica, now_ms),
        });
        let refusal = match fault.filter(|_| elected) {
            Some(Fault::RejectWholeRequests) => state.refusal(incoming, pair.is_some(), now_ms),
            Some(Fault::RejectMetricAndWholeRequests(name)) => {
                let refused = incoming
                    .series
                    .iter()
                    .find(|series| has_name(&series.labels, name));
                refused.map(|_| "invalid sample")
            }
            _ => None,
        };
        if let Some(refusal) = refusal
            && incoming.series.len() > 1
        {
            return Err(refusal.to_owned());
        }
        let mut first_error = None;
        for series in &incoming.series {
            for (timestamp, value) in &series.samples {
                let sample = Sample {
                    timestamp: *timestamp,
                    value: value.clone(),
                };
                let outcome = if elected {
                    state.store(&series.labels, pair.is_some(), sample, now_ms, fault)
                } else {
                    Ok(Outcome::Deduplicated)
                };
                let (outcome, error) = match outcome {
                    Ok(outcome) => (outcome, None),
                    Err((outcome, error)) => (outcome, Some(error)),
                };
                if first_error.is_none() {
                    first_error = error;
                }
                state.ledger.record(Arrival {
                    request,
                    at_ms: now_ms,
                    labels: series.labels.clone(),
                    timestamp: *timestamp,
                    value: value.clone(),
                    outcome,
                });
            }
        }
        match (elected, first_error) {
            (false, _) => Ok(StatusCode::ACCEPTED),
            (true, None) => Ok(StatusCode::OK),
            (true, Some(error)) => Err(refusal.map_or(error, str::to_owned)),
        }
    }
}

// === impl State ===

impl State {
    /// Message of Prometheus for the first sample of a request that is to be rejected.
    fn refusal(&self, incoming: &Incoming, ha: bool, now_ms: i64) -> Option<&'static str> {
        let mut samples = incoming.series.iter().flat_map(|series| {
            let labels = without_replica(&series.labels, ha);
            let samples = series.samples.iter();
            samples.map(move |(timestamp, value)| {
                let value = value.clone();
                let timestamp = *timestamp;
                (labels.clone(), Sample { timestamp, value })
            })
        });
        samples.find_map(
            |(labels, sample)| match self.store.outcome(&labels, &sample, now_ms) {
                Outcome::Stored | Outcome::Duplicate => None,
                Outcome::Conflict => Some("duplicate sample for timestamp"),
                Outcome::OutOfOrder => Some("out of order sample"),
                _ => Some("out of bounds"),
            },
        )
    }

    fn store(
        &mut self,
        sent: &Labels,
        ha: bool,
        sample: Sample,
        now_ms: i64,
        fault: Option<&Fault>,
    ) -> Result<Outcome, (Outcome, String)> {
        let reject = |error: String| Err((Outcome::Refused, error));
        let labels = without_replica(sent, ha);
        if let Some(error) = Store::label_error(&labels) {
            return reject(error);
        }
        if let Some(Fault::RejectMetric(name) | Fault::RejectMetricAndWholeRequests(name)) = fault
            && has_name(&labels, name)
        {
            return reject(format!("{USER}: label value invalid for metric {name}"));
        }
        let limited = matches!(fault, Some(Fault::SeriesLimit)) || self.store.is_full();
        if limited && !self.store.contains(&labels) {
            let limit = self.store.max_series();
            return reject(format!(
                "{USER}: per-user series limit of {limit} exceeded, please contact administrator \
                 to raise it (local limit: {limit} global limit: 0 actual local limit: {limit})"
            ));
        }
        let timestamp = sample.timestamp;
        match self.store.append(&labels, sample, now_ms) {
            outcome @ (Outcome::Stored | Outcome::Duplicate) => Ok(outcome),
            outcome => Err((outcome, error_message(outcome, timestamp, &labels))),
        }
    }
}

/// Labels of a series as they are stored.
fn without_replica(sent: &Labels, ha: bool) -> Labels {
    let mut labels = sent.to_builder();
    if ha {
        // Cortex removes the replica label from all series of an HA request.
        labels.del(REPLICA);
    }
    labels.build()
}

/// Builds Cortex's error message for a rejected sample.
fn error_message(outcome: Outcome, timestamp: i64, labels: &Labels) -> String {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    match outcome {
        Outcome::Conflict => format!(
            "{USER}: err: duplicate sample for timestamp {timestamp}; overrides not allowed: \
             existing 1, new value 2. series={labels}"
        ),
        Outcome::OutOfOrder => {
            format!("{USER}: err: out of order sample. timestamp={timestamp}, series={labels}")
        }
        Outcome::TooOld => format!("timestamp too old: {timestamp} metric: \"{name}\""),
        _ => format!("timestamp too new: {timestamp} metric: \"{name}\""),
    }
}

#[derive(Deserialize)]
struct QueryParams {
    query: String,
}

/// Serves queries. An instant query returns the newest sample of each series; a query with
/// a range (`up[5m]`) returns all samples.
async fn query(Extract(backend): Extract<Backend>, Query(params): Query<QueryParams>) -> Response {
    let range = params.query.trim_end().ends_with(']');
    let selector = params.query.split('[').next().unwrap_or_default();
    let selector = match Selector::parse(selector) {
        Ok(selector) => selector,
        Err(error) => {
            let body =
                json!({"status": "error", "errorType": "bad_data", "error": format!("{error:#}")});
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    let series = backend
        .state()
        .store
        .select(|labels| selector.matches(labels));
    let result: Vec<_> = series.iter().map(|series| result(series, range)).collect();
    let kind = if range { "matrix" } else { "vector" };
    Json(json!({"status": "success", "data": {"resultType": kind, "result": result}}))
        .into_response()
}

fn result(series: &Series, range: bool) -> serde_json::Value {
    let metric: serde_json::Map<_, _> = series
        .labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let point = |sample: &Sample| json!([sample.timestamp as f64 / 1000.0, text(&sample.value)]);
    if range {
        json!({"metric": metric, "values": series.samples.iter().map(point).collect::<Vec<_>>()})
    } else {
        json!({"metric": metric, "value": series.samples.last().map(point)})
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Float(bits) => match f64::from_bits(*bits) {
            v if v == f64::INFINITY => "+Inf".to_owned(),
            v if v == f64::NEG_INFINITY => "-Inf".to_owned(),
            v => v.to_string(),
        },
        Value::Histogram(histogram) => format!("histogram sum {}", histogram.sum),
    }
}

async fn ledger(Extract(backend): Extract<Backend>) -> Json<serde_json::Value> {
    let totals = backend.totals();
    let samples: serde_json::Map<_, _> = totals
        .samples
        .iter()
        .map(|(outcome, n)| (outcome.as_str().to_owned(), (*n).into()))
        .collect();
    Json(json!({
        "requests": totals.requests,
        "elections": backend.elections(),
        "samples": samples,
    }))
}

/// Request body of the faults page.
#[derive(Deserialize)]
struct FaultRequest {
    /// Number of requests that the fault applies to. `None`: all requests from now on.
    times: Option<usize>,
    /// Status code of the response. A body without any fault ends the current one.
    status: Option<u16>,
    retry_after: Option<u64>,
    slow_ms: Option<u64>,
    store_and_hang: Option<bool>,
    reject_whole_requests: Option<bool>,
}

async fn set_fault(
    Extract(backend): Extract<Backend>,
    Json(request): Json<FaultRequest>,
) -> StatusCode {
    let fault = match request {
        FaultRequest {
            status: Some(code),
            retry_after,
            ..
        } => Some(Fault::Status {
            code,
            body: "failure requested by the test".to_owned(),
            retry_after,
        }),
        FaultRequest {
            slow_ms: Some(ms), ..
        } => Some(Fault::Slow(Duration::from_millis(ms))),
        FaultRequest {
            store_and_hang: Some(true),
            ..
        } => Some(Fault::StoreAndHang),
        FaultRequest {
            reject_whole_requests: Some(true),
            ..
        } => Some(Fault::RejectWholeRequests),
        _ => None,
    };
    match (request.times, fault) {
        (Some(times), Some(fault)) => backend.faults.next(vec![fault; times]),
        (_, fault) => backend.faults.always(fault),
    }
    StatusCode::NO_CONTENT
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
