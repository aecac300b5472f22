//! A client that pushes as fast as its pushes are stored.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use mesh_net::http_client::HttpClient;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// A running client.
#[derive(Debug)]
pub(super) struct Writer {
    result: Arc<Mutex<Pushes>>,
    _task: AbortOnDropHandle<()>,
}

/// Pushes of a client so far.
#[derive(Debug, Default)]
struct Pushes {
    times: Vec<Duration>,
    refused: u64,
}

/// Time before a refused push is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(200);

// === impl Writer ===

impl Writer {
    pub(super) fn start(number: usize, gateway: SocketAddr, points: usize) -> anyhow::Result<Self> {
        let client = HttpClient::new(&Default::default())?;
        let url = format!("http://{gateway}/v1/metrics");
        let result = Arc::new(Mutex::new(Pushes::default()));
        let pushes = result.clone();
        let task = async move {
            loop {
                let body = body(number, points);
                let began = Instant::now();
                while !push(&client, &url, body.clone()).await {
                    pushes.lock().refused += 1;
                    sleep(RETRY_DELAY).await;
                }
                pushes.lock().times.push(began.elapsed());
            }
        };
        Ok(Self {
            result,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        })
    }

    /// Forgets the pushes so far.
    pub(super) fn reset(&self) {
        *self.result.lock() = Pushes::default();
    }

    /// Stops the client. Returns the times of its pushes and the number of refused ones.
    pub(super) fn stop(self) -> (Vec<Duration>, u64) {
        let pushes = std::mem::take(&mut *self.result.lock());
        (pushes.times, pushes.refused)
    }
}

/// Pushes once. Returns true if the push is stored.
async fn push(client: &HttpClient, url: &str, body: Bytes) -> bool {
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(body);
    let Ok(request) = request else {
        return false;
    };
    let Ok(response) = client.request(request).await else {
        return false;
    };
    let is_stored = response.status().is_success();
    // Reading the body to its end lets the connection be used again.
    response.into_body().collect().await.is_ok() && is_stored
}

/// One point of each series of a client, now.
fn body(number: usize, points: usize) -> Bytes {
    let attribute = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time_unix_nano = now.map_or(0, |now| now.as_nanos() as u64);
    let point = |i: usize| NumberDataPoint {
        attributes: vec![
            attribute("method", "GET".to_owned()),
            attribute("route", format!("/api/v1/resource/{i}")),
        ],
        time_unix_nano,
        value: Some(number_data_point::Value::AsDouble(i as f64)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "http_requests_in_flight".to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: (0..points).map(point).collect(),
        })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", "bench".to_owned()),
                    attribute("service.instance.id", format!("writer-{number}")),
                ],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    request.encode_to_vec().into()
}
