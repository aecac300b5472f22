//! Every response of AMP: its effect on the reply to a stock OTLP client and on
//! metrics.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser;
use exporter_svc::{Addresses, Args, bind};
use mesh_base::shutdown;
use mesh_contract::{export::retry_delay, verdict::Verdict};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status, transport::Channel};

/// Status, body and `Retry-After` of the next responses; 200 if empty.
type Script = Arc<Mutex<VecDeque<(u16, String, Option<String>)>>>;

/// Exporter with a scripted backend.
struct Exporter {
    script: Script,
    client: MetricsServiceClient<Channel>,
    addresses: Addresses,
    _trigger: shutdown::Trigger,
    _directory: tempfile::TempDir,
}

impl Exporter {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let script = Script::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/write", post(answer))
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        let config = format!(
            "remote_write:\n- url: {url}\n  name: amp\n  metadata_config: {{send: false}}\n"
        );
        std::fs::write(&file, config).unwrap();
        let args = Args::parse_from([
            "exporter",
            &format!("--config.file={}", file.display()),
            "--grpc.listen-address=127.0.0.1:0",
            "--web.listen-address=127.0.0.1:0",
        ]);
        let bound = bind(args).await.unwrap();
        let addresses = bound.addresses;
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(bound.run(shutdown));
        let client = MetricsServiceClient::connect(format!("http://{}", addresses.grpc));
        Self {
            script,
            client: client.await.unwrap(),
            addresses,
            _trigger: trigger,
            _directory: directory,
        }
    }

    fn answers(&self, status: u16, body: &str, retry_after: Option<&str>) {
        let answer = (status, body.to_owned(), retry_after.map(str::to_owned));
        self.script.lock().push_back(answer);
    }

    /// Exports one sample of each of three series.
    async fn export(&mut self) -> Result<(Verdict, ExportMetricsServiceResponse), Status> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let metric = |name: &str| Metric {
            name: name.to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: vec![NumberDataPoint {
                    time_unix_nano: now.as_ref().unwrap().as_nanos() as u64,
                    ..Default::default()
                }],
            })),
            ..Default::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: ["a", "b", "c"].map(metric).into(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let response = self.client.export(request).await?;
        Ok((Verdict::read(response.metadata()), response.into_inner()))
    }

    /// Value of a sample on /metrics; 0 if absent.
    async fn metric(&self, sample: &str) -> u64 {
        let mut stream = tokio::net::TcpStream::connect(self.addresses.web)
            .await
            .unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(sample));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

async fn answer(State(script): State<Script>) -> Response {
    let next = script.lock().pop_front();
    let Some((status, body, retry_after)) = next else {
        return StatusCode::OK.into_response();
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    if let Some(after) = retry_after {
        let headers = response.headers_mut();
        headers.insert("retry-after", after.parse().unwrap());
    }
    response
}

/// Rejections with messages from the documentation of AMP and from Cortex, by reason.
const REJECTIONS: &[(u16, &str, &str)] = &[
    (
        400,
        "per-user series limit of 10 exceeded, please contact administrator",
        "series_limit",
    ),
    (
        429,
        "per-user series limit of 10 exceeded, please contact administrator",
        "series_limit",
    ),
    (
        400,
        "per-labelset series limit of 10 exceeded",
        "series_limit",
    ),
    (
        400,
        "per-metric series limit of 10 exceeded",
        "series_limit",
    ),
    (400, "per_labelset_series_limit", "series_limit"),
    (400, "per_metric_series_limit", "series_limit"),
    (
        400,
        "per_user_native_histogram_series_limit",
        "series_limit",
    ),
    (
        400,
        "user=x: err: out of order sample. timestamp=2026-01-01T00:00:00Z",
        "out_of_order",
    ),
    (400, "sample-out-of-order", "out_of_order"),
    (
        400,
        "err: duplicate sample for timestamp",
        "new_value_for_timestamp",
    ),
    (400, "new-value-for-timestamp", "new_value_for_timestamp"),
    (400, "timestamp too old: 2026-01-01T00:00:00Z", "too_old"),
    (400, "sample-too-old", "too_old"),
    (400, "greater_than_max_sample_age", "too_old"),
    (400, "err: out of bounds", "too_old"),
    (
        400,
        "timestamp too new: 2036-01-01T00:00:00Z",
        "too_far_in_future",
    ),
    (
        400,
        "series has too many labels (actual: 151, limit: 150)",
        "label_limit",
    ),
    (400, "max_label_names_per_series", "label_limit"),
    (400, "label value too long for metric", "label_limit"),
    (400, "label_value_too_long", "label_limit"),
    (400, "sample missing metric name", "invalid_name"),
    (400, "metric_name_invalid", "invalid_name"),
    (400, "sample invalid label", "invalid_label"),
    (400, "label_invalid", "invalid_label"),
    (400, "duplicate label name", "duplicate_label"),
    (400, "duplicate_label_names", "duplicate_label"),
    (400, "native_histogram_invalid_schema", "invalid_histogram"),
    (
        400,
        "native_histogram_buckets_exceeded",
        "invalid_histogram",
    ),
    (400, "too many HA clusters (limit: 500)", "ha_cluster_limit"),
];

/// Responses that lead to a retry, and the status code of each.
const RETRYABLE: &[(u16, &str, Code)] = &[
    (
        429,
        "ingestion rate limit (100) exceeded while adding 3 samples",
        Code::ResourceExhausted,
    ),
    (429, "Rate exceeded", Code::ResourceExhausted),
    (429, "rate_limited", Code::ResourceExhausted),
    (
        403,
        "The security token included in the request is expired",
        Code::Unavailable,
    ),
    (408, "", Code::Unavailable),
    (500, "", Code::Unavailable),
    (502, "", Code::Unavailable),
    (503, "", Code::Unavailable),
    (504, "", Code::Unavailable),
];

#[tokio::test]
async fn rejections_are_reported_and_counted_by_reason() {
    for (status, body, reason) in REJECTIONS {
        let mut exporter = Exporter::start().await;
        // A refusal that does not say whether the backend stored the rest is repeated for each
        // sample.
        for _ in 0..8 {
            exporter.answers(*status, body, None);
        }
        let (verdict, response) = exporter.export().await.unwrap();
        exporter.script.lock().clear();
        let rejected: Vec<_> = verdict
            .rejected
            .iter()
            .map(|(r, n)| (r.as_str(), *n))
            .collect();
        assert_eq!(rejected, [(*reason, 3)], "{body}");
        let partial = response.partial_success.unwrap();
        assert_eq!(partial.rejected_data_points, 3, "{body}");
        assert!(
            partial.error_message.contains(body),
            "{}",
            partial.error_message
        );
        let sample = format!(
            "promesh_exporter_samples_total{{destination=\"amp\",outcome=\"rejected\",\
             reason=\"{reason}\"}}"
        );
        assert_eq!(exporter.metric(&sample).await, 3, "{body}");
        // The next Export is posted at once.
        let started = Instant::now();
        let (verdict, _) = exporter.export().await.unwrap();
        assert_eq!(verdict, Verdict::default(), "{body}");
        assert!(started.elapsed() < Duration::from_secs(9), "{body}");
    }
}

/// A workspace may stay at its series limit for a long time. Samples of existing series must
/// not be delayed.
#[tokio::test]
async fn a_permanent_series_limit_does_not_delay_exports() {
    let mut exporter = Exporter::start().await;
    let started = Instant::now();
    for _ in 0..20 {
        exporter.answers(429, "per-user series limit of 10 exceeded", None);
        let (verdict, _) = exporter.export().await.unwrap();
        assert_eq!(verdict.rejected_total(), 3);
    }
    // At one scrape per minute, an hour of them would take two minutes.
    assert!(started.elapsed() < Duration::from_secs(40));
}

#[tokio::test]
async fn retryable_responses_carry_a_delay() {
    for (code, body, expected) in RETRYABLE {
        let mut exporter = Exporter::start().await;
        exporter.answers(*code, body, None);
        let status = exporter.export().await.unwrap_err();
        assert_eq!(status.code(), *expected, "{body}");
        assert!(status.message().contains(body), "{}", status.message());
        let after = retry_delay(status.details()).unwrap();
        // The first backoff is 30 ms plus jitter. A destination on hold is tried after 3.5 s.
        let expected = if *code == 403 {
            3_000..5_000
        } else {
            30..1_000
        };
        assert!(expected.contains(&after.as_millis()), "{after:?}");
        let sample =
            "promesh_exporter_samples_total{destination=\"amp\",outcome=\"returned\",reason=\"\"}";
        assert_eq!(exporter.metric(sample).await, 3, "{body}");
        // The retry succeeds, so nothing is lost.
        assert!(exporter.export().await.is_ok());
    }
}

#[tokio::test]
async fn passes_on_retry_after() {
    // Jitter of a tenth applies twice: to the exporter's backoff and to each sender's
    // delay.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for (value, range) in [("60", 60..=73), (date.as_str(), 50..=73)] {
        for status in [429, 503] {
            let mut exporter = Exporter::start().await;
            exporter.answers(status, "later", Some(value));
            let error = exporter.export().await.unwrap_err();
            let after = retry_delay(error.details()).unwrap().as_secs();
            assert!(range.contains(&after), "{status} {value}: {after}");
            // The backoff applies to the whole process: the next Export is not posted.
            let error = exporter.export().await.unwrap_err();
            assert!(error.message().contains("backing off"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_deduplicated_export_succeeds() {
    let mut exporter = Exporter::start().await;
    exporter.answers(202, "replicas did not match", None);
    let (verdict, response) = exporter.export().await.unwrap();
    assert_eq!((verdict.deduplicated, response.partial_success), (3, None));
    let sample =
        "promesh_exporter_samples_total{destination=\"amp\",outcome=\"deduplicated\",reason=\"\"}";
    assert_eq!(exporter.metric(sample).await, 3);
}
