use std::time::Duration;

use mesh_contract::{
    export::{Export, ExportError},
    report::ExportResponse,
    verdict::Verdict,
};
use mesh_model::flags::ByteSize;
use mesh_outbox::{OutboxArgs, Workers};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, HistogramDataPoint, Metric, NumberDataPoint, ScopeMetrics, metric::Data,
};
use parking_lot::Mutex;

use super::*;
use crate::delta::{DeltaArgs, Owners};

/// Fake exporters: record the exports and answer with `verdict` after `takes`.
#[derive(Clone, Default)]
struct Exporters {
    exports: Arc<Mutex<Vec<Export>>>,
    verdict: Verdict,
    takes: Duration,
}

impl Exporters {
    fn intake(&self, ack: Ack, args: &OutboxArgs) -> (Intake, Workers) {
        let exporters = self.clone();
        let service = tower::service_fn(move |export| {
            let exporters = exporters.clone();
            async move {
                exporters.exports.lock().push(export);
                tokio::time::sleep(exporters.takes).await;
                Ok::<_, ExportError>(ExportResponse::from(exporters.verdict))
            }
        });
        let (outbox, workers) = Outbox::new(args, Clock::system(), service);
        let delta = delta_args();
        let owners = Owners::new(mesh_kubernetes::shard::alone());
        let stages = Stages {
            validator: Validator {
                max_future: Duration::from_secs(600),
            },
            defaults: ResourceDefaults::new(&Default::default()),
            conflicts: ConflictDetector::new(0, Default::default()),
            deltas: DeltaAccumulator::new(&delta, owners, Default::default()),
            peers: Peers::new(&delta, (None, None), Default::default()),
        };
        let intake = Intake::new(outbox, ack, stages, MAX_BATCH, IntakeMetrics::default());
        (intake, workers)
    }
}

fn delta_args() -> DeltaArgs {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: DeltaArgs,
    }
    <Only as clap::Parser>::parse_from(["test"]).args
}

/// Maximum bytes of a batch.
const MAX_BATCH: usize = 1 << 20;

const SOURCE: PushSource = PushSource {
    client: None,
    from_peer: false,
};

async fn take(
    intake: &Intake,
    request: ExportMetricsServiceRequest,
) -> Result<ExportResult, PushError> {
    let accepted = intake.accept(request, &SOURCE, &mut |_| Ok(()))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    Ok(intake.result(accepted, deadline).await?)
}

fn push(schema_url: &str, points: usize) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: Clock::system().now_ms() as u64 * 1_000_000,
        ..Default::default()
    };
    let data = Data::Gauge(Gauge {
        data_points: vec![point; points],
    });
    let metric = Metric {
        data: Some(data),
        ..Default::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        schema_url: schema_url.to_owned(),
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    }
}

#[tokio::test]
async fn sends_a_push_unchanged_and_without_ha_labels() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let taken = take(&intake, push("x", 3)).await.unwrap();
    assert_eq!(taken.response().partial_success, None);
    let exports = exporters.exports.lock();
    let sent = ExportMetricsServiceRequest::decode(exports[0].payload.clone()).unwrap();
    assert_eq!(sent.resource_metrics[0].schema_url, "x");
    assert_eq!(
        (exports[0].samples, exports[0].context.ha.as_ref()),
        (3, None)
    );
}

#[tokio::test]
async fn sends_points_of_one_stream_one_after_another() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let mut request = push("x", 3);
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Gauge(gauge)) = &mut metric.data else {
        unreachable!("push makes gauges");
    };
    for (point, ago) in gauge.data_points.iter_mut().zip(0..) {
        point.time_unix_nano -= ago * 1_000_000;
    }
    take(&intake, request).await.unwrap();
    let exports = exporters.exports.lock();
    let times = exports.iter().map(|export| {
        let sent = ExportMetricsServiceRequest::decode(export.payload.clone()).unwrap();
        let mut times = Vec::new();
        let metric = &sent.resource_metrics[0].scope_metrics[0].metrics[0];
        points::for_each(metric, |point| times.push(point.time()));
        times
    });
    let times: Vec<_> = times.collect();
    assert!(times.len() == 3 && times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn reports_points_that_the_backend_rejects() {
    let mut verdict = Verdict::default();
    verdict.reject(Reason::OutOfOrder, 2);
    let exporters = Exporters {
        verdict,
        ..Default::default()
    };
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let taken = take(&intake, push("x", 3)).await.unwrap();
    let partial = taken.response().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert_eq!(
        partial.error_message,
        "data points rejected: 2 out_of_order"
    );
}

#[tokio::test]
async fn a_full_outbox_asks_for_a_retry() {
    let args = OutboxArgs {
        max_bytes: ByteSize(10),
        ..Default::default()
    };
    let (intake, _workers) = Exporters::default().intake(Ack::Stored, &args);
    let error = take(&intake, push("a resource that does not fit", 3)).await;
    assert_eq!(
        error.unwrap_err(),
        RetryLater::new(RetryCause::Outbox).into()
    );
}

#[tokio::test]
async fn accepts_a_push_without_points() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    take(&intake, push("x", 0)).await.unwrap();
    take(&intake, ExportMetricsServiceRequest::default())
        .await
        .unwrap();
    assert!(exporters.exports.lock().is_empty());
}

#[tokio::test]
async fn sends_a_retried_push_once() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let request = push("x", 3);
    take(&intake, request.clone()).await.unwrap();
    take(&intake, request).await.unwrap();
    assert_eq!(exporters.exports.lock().len(), 1);
}

/// Sends two pushes of one resource. The client of the second one disconnects while the
/// first is in flight. Returns the number of exported and of withdrawn data points.
async fn one_disconnects(ack: Ack) -> (u64, u64) {
    let exporters = Exporters {
        takes: Duration::from_secs(5),
        ..Default::default()
    };
    let (intake, workers) = exporters.intake(ack, &OutboxArgs::default());
    let first = take(&intake, push("first", 1));
    let leaving = async {
        let second = take(&intake, push("second", 2));
        let _ = tokio::time::timeout(Duration::from_secs(1), second).await;
    };
    tokio::join!(async { first.await.unwrap() }, leaving);
    let account = workers
        .drain(Instant::now() + Duration::from_secs(60))
        .await;
    assert!(account.balances(), "{account}");
    let exports = exporters.exports.lock();
    let sent = exports.iter().map(|export| export.samples).sum();
    (sent, account.expired.values().sum())
}

#[tokio::test(start_paused = true)]
async fn withdraws_a_push_whose_client_disconnects() {
    assert_eq!(one_disconnects(Ack::Stored).await, (1, 2));
    // The push was acknowledged already.
    assert_eq!(one_disconnects(Ack::Accepted).await, (3, 0));
}

#[tokio::test(start_paused = true)]
async fn accepts_a_retry_of_a_withdrawn_push() {
    let exporters = Exporters {
        takes: Duration::from_secs(5),
        ..Default::default()
    };
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let (in_flight, queued) = (push("first", 1), push("second", 2));
    for request in [&in_flight, &queued] {
        let timed_out = take(&intake, request.clone());
        let timed_out = tokio::time::timeout(Duration::from_secs(1), timed_out).await;
        assert!(timed_out.is_err());
    }
    // The push in flight is not sent again; the withdrawn one is sent now.
    for request in [in_flight, queued] {
        take(&intake, request).await.unwrap();
    }
    let exports = exporters.exports.lock();
    let sent: Vec<_> = exports.iter().map(|export| export.samples).collect();
    assert_eq!(sent, [1, 2]);
}

/// Each metric has one valid and one invalid point.
#[tokio::test]
async fn rejects_only_invalid_points_and_names_their_metric() {
    let now = Clock::system().now_ms() as u64 * 1_000_000;
    let numbers = |name: &str, time: u64| {
        let point = |time_unix_nano| NumberDataPoint {
            time_unix_nano,
            ..Default::default()
        };
        metric(
            name,
            Data::Gauge(Gauge {
                data_points: vec![point(now), point(time)],
            }),
        )
    };
    let histograms = |name: &str, bounds: &[f64], counts: &[u64]| {
        let point = |bounds: &[f64], counts: &[u64]| HistogramDataPoint {
            time_unix_nano: now,
            explicit_bounds: bounds.to_vec(),
            bucket_counts: counts.to_vec(),
            ..Default::default()
        };
        let points = vec![
            point(&[1.0], &[1, 2]),
            point(&[], &[]),
            point(bounds, counts),
        ];
        metric(
            name,
            Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
                data_points: points,
                aggregation_temporality: 2,
            }),
        )
    };
    let hour = 3_600_000_000_000;
    let cases = [
        (
            numbers("no_time", 0),
            Reason::Malformed,
            "data point without a timestamp",
        ),
        (
            numbers("late", now + hour),
            Reason::TooFarInFuture,
            "data point further in the future than --otlp.max-future",
        ),
        (
            histograms("short", &[1.0], &[1]),
            Reason::InvalidHistogram,
            "histogram whose bucket counts are not one more than its bounds",
        ),
        (
            histograms("down", &[2.0, 1.0], &[1, 1, 1]),
            Reason::InvalidHistogram,
            "histogram whose bounds do not ascend",
        ),
        (
            histograms("nan", &[f64::NAN], &[1, 1]),
            Reason::InvalidHistogram,
            "histogram whose bounds do not ascend",
        ),
    ];
    for (metric, reason, problem) in cases {
        let exporters = Exporters::default();
        let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
        let name = metric.name.clone();
        let mut request = push("x", 0);
        request.resource_metrics[0].scope_metrics[0].metrics = vec![metric];
        let before = points::count(&request.resource_metrics[0]);
        let taken = take(&intake, request).await.unwrap();
        assert_eq!(taken.verdict.rejected, [(reason, 1)], "{name}");
        let message = taken.response().partial_success.unwrap().error_message;
        let expected = format!("; metric {name:?}: {problem}");
        assert!(message.ends_with(&expected), "{message}");
        let sent = exporters.exports.lock()[0].samples;
        assert_eq!(sent, before - 1, "{name}");
    }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_client_reads_why_the_exporter_rejected() {
    let mut exporters = Exporters::default();
    exporters.verdict.reject(Reason::InvalidName, 2);
    exporters.verdict.problem = Some("metric with an empty name".to_owned());
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let taken = take(&intake, push("x", 3)).await.unwrap();
    let partial = taken.response().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert_eq!(
        partial.error_message,
        "data points rejected: 2 invalid_name; metric with an empty name"
    );
}

#[tokio::test]
async fn rejects_a_batch_that_no_exporter_reads() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let mut large = push("a", 1);
    large.resource_metrics[0].schema_url = "u".repeat(MAX_BATCH);
    let error = take(&intake, large).await.unwrap_err();
    assert_eq!(error.http_status().as_u16(), 413, "{error}");
    assert!(error.to_string().contains("--exporter.max-message-bytes"));
    assert!(exporters.exports.lock().is_empty());
}
