//! Writers: OTLP clients that push good and bad samples.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use mesh_net::http_client::HttpClient;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;
use tokio::time::{Instant, sleep, timeout};

use super::ledger::{Kind, Sent};

/// Name of all series.
pub(super) const METRIC: &str = "backends_value";

/// An OTLP client.
#[derive(Debug)]
pub(super) struct Writer {
    job: String,
    behaviour: Behaviour,
    url: String,
    client: HttpClient,
    /// Timestamp of the first round.
    start_ms: i64,
}

/// Kinds of the samples of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Good,
    /// Some series of each push have a bad sample, after the first round.
    Mixed,
    /// All samples are out of order after the first round.
    Bad,
}

/// Samples of one push, and the number of those that were rejected.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) sent: Vec<Sent>,
    pub(super) rejected: u64,
}

/// Number of series of each writer.
const SERIES: i64 = 20;
const STEP_MS: i64 = 1000;
/// Number of writers without bad samples.
const GOOD_WRITERS: usize = 18;
/// Maximum time of a push with its retries.
const TIMEOUT: Duration = Duration::from_secs(120);

// === impl Writer ===

impl Writer {
    /// Writers of `rounds` rounds that end now: 18 good ones, a mixed one and a bad one.
    pub(super) fn all(gateway: SocketAddr, rounds: u32) -> anyhow::Result<Vec<Self>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let start_ms = i64::try_from(now)? - i64::from(rounds) * STEP_MS;
        let good = std::iter::repeat_n(Behaviour::Good, GOOD_WRITERS);
        let behaviours = good.chain([Behaviour::Mixed, Behaviour::Bad]).enumerate();
        let writer = |(i, behaviour)| {
            Ok(Self {
                job: format!("writer-{i}"),
                behaviour,
                url: format!("http://{gateway}/v1/metrics"),
                client: HttpClient::new(&Default::default())?,
                start_ms,
            })
        };
        behaviours.map(writer).collect()
    }

    /// Pushes the samples of a round, until the gateway has an answer.
    ///
    /// # Errors
    /// Returns an error if the gateway refuses the push or does not answer in time.
    pub(super) async fn push(&self, round: u32) -> anyhow::Result<Pushed> {
        let sent = self.samples(round);
        let body = Bytes::from(self.request(&sent).encode_to_vec());
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let request = Request::post(&self.url)
                .header(header::CONTENT_TYPE, "application/x-protobuf")
                .body(body.clone())?;
            let response = timeout(TIMEOUT, self.client.request(request)).await??;
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            if status.is_success() {
                let response = ExportMetricsServiceResponse::decode(text)?;
                let partial = response.partial_success.unwrap_or_default();
                return Ok(Pushed {
                    sent,
                    rejected: u64::try_from(partial.rejected_data_points)?,
                });
            }
            let is_retryable = status == StatusCode::SERVICE_UNAVAILABLE
                || status == StatusCode::TOO_MANY_REQUESTS;
            anyhow::ensure!(
                is_retryable && Instant::now() < deadline,
                "{}: {status}: {}",
                self.job,
                String::from_utf8_lossy(&text)
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn samples(&self, round: u32) -> Vec<Sent> {
        let round = i64::from(round);
        let time_ms = self.start_ms + round * STEP_MS;
        let sample = |series: i64| {
            let kind = self.kind(round, series);
            let time_ms = match kind {
                Kind::Good | Kind::Utf8 => time_ms,
                Kind::OutOfOrder => self.start_ms - round * STEP_MS,
                Kind::Conflict => self.start_ms,
                Kind::TooOld => time_ms - 3 * 3_600_000,
                Kind::Future => time_ms + 1_800_000,
            };
            Sent {
                series: (self.job.clone(), series.to_string()),
                time_ms,
                value: (round * SERIES + series) as f64,
                kind,
            }
        };
        (0..SERIES).map(sample).collect()
    }

    /// Kind of the sample of a series in a round. Each series has a good sample first.
    fn kind(&self, round: i64, series: i64) -> Kind {
        match (self.behaviour, series) {
            _ if round == 0 => Kind::Good,
            (Behaviour::Good, _) => Kind::Good,
            (Behaviour::Bad, _) => Kind::OutOfOrder,
            (Behaviour::Mixed, 3) => Kind::OutOfOrder,
            (Behaviour::Mixed, 7) => Kind::Conflict,
            (Behaviour::Mixed, 8) => Kind::TooOld,
            (Behaviour::Mixed, 12) => Kind::Utf8,
            (Behaviour::Mixed, 16) => Kind::Future,
            (Behaviour::Mixed, _) => Kind::Good,
        }
    }

    fn request(&self, samples: &[Sent]) -> ExportMetricsServiceRequest {
        let point = |sample: &Sent| NumberDataPoint {
            attributes: match sample.kind {
                Kind::Utf8 => vec![
                    attribute("series", &sample.series.1),
                    attribute("a blank", "1"),
                ],
                _ => vec![attribute("series", &sample.series.1)],
            },
            time_unix_nano: sample.time_ms as u64 * 1_000_000,
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        };
        let metric = Metric {
            name: METRIC.to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: samples.iter().map(point).collect(),
            })),
            ..Metric::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes: vec![
                        attribute("service.name", &self.job),
                        attribute("service.instance.id", "1"),
                    ],
                    ..Resource::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![metric],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}
