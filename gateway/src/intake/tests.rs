use std::{sync::Mutex, time::Duration};

use mesh::{
    export::{Export, ExportError},
    outbox::{OutboxArgs, Workers},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, HistogramDataPoint, Metric, NumberDataPoint, ScopeMetrics, metric::Data,
};

use super::*;
use crate::delta::{DeltaArgs, Owners};

/// What exporters were sent, and what they answer.
#[derive(Clone, Default)]
struct Exporters {
    exports: Arc<Mutex<Vec<Export>>>,
    verdict: Verdict,
}

impl Exporters {
    fn intake(&self, ack: Ack, args: &OutboxArgs) -> (Intake, Workers) {
        let exporters = self.clone();
        let service = tower::service_fn(move |export| {
            let exporters = exporters.clone();
            async move {
                exporters.exports.lock().unwrap().push(export);
                Ok::<_, ExportError>(exporters.verdict)
            }
        });
        let (outbox, workers) = Outbox::new(args, Clock::system(), service);
        let delta = delta_args();
        let owners = Owners::new(mesh::shard::alone());
        let stages = Stages {
            screen: Screen {
                max_future: Duration::from_secs(600),
            },
            identity: Identity::new(&Default::default()),
            writers: Writers::new(0, Default::default()),
            summing: Summing::new(&delta, owners, Default::default()),
            peers: Peers::new(&delta, (None, None), Default::default()),
        };
        let intake = Intake::new(outbox, ack, stages, IntakeMetrics::default());
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

const PUSH: Push = Push {
    client: None,
    passed_on: false,
};

async fn take(intake: &Intake, request: ExportMetricsServiceRequest) -> Result<Taken, Busy> {
    let accepted = intake.accept(request, &PUSH)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    intake.answer(accepted, deadline).await
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
async fn a_push_arrives_whole_and_without_ha_labels() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let taken = take(&intake, push("x", 3)).await.unwrap();
    assert_eq!(taken.response().partial_success, None);
    let exports = exporters.exports.lock().unwrap();
    let sent = ExportMetricsServiceRequest::decode(exports[0].payload.clone()).unwrap();
    assert_eq!(sent.resource_metrics[0].schema_url, "x");
    assert_eq!(
        (exports[0].samples, exports[0].facts.ha.as_ref()),
        (3, None)
    );
}

#[tokio::test]
async fn what_the_backend_refuses_is_told() {
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
        "data points rejected for good: 2 out_of_order"
    );
}

#[tokio::test]
async fn a_full_outbox_asks_to_come_back() {
    let args = OutboxArgs {
        max_bytes: 10,
        ..Default::default()
    };
    let (intake, _workers) = Exporters::default().intake(Ack::Stored, &args);
    let busy = take(&intake, push("a resource that does not fit", 3)).await;
    assert_eq!(busy.unwrap_err(), Busy::new(Cause::Outbox));
}

#[tokio::test]
async fn a_push_without_points_is_answered() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    take(&intake, push("x", 0)).await.unwrap();
    take(&intake, ExportMetricsServiceRequest::default())
        .await
        .unwrap();
    assert!(exporters.exports.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_push_that_comes_again_is_sent_once() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let request = push("x", 3);
    take(&intake, request.clone()).await.unwrap();
    take(&intake, request).await.unwrap();
    assert_eq!(exporters.exports.lock().unwrap().len(), 1);
}

/// Each metric has one good point and one that nobody can take.
#[tokio::test]
async fn bad_points_are_refused_alone_and_named() {
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
            "a point without a time",
        ),
        (
            numbers("late", now + hour),
            Reason::TooFarInFuture,
            "a point further in the future than is allowed",
        ),
        (
            histograms("short", &[1.0], &[1]),
            Reason::InvalidHistogram,
            "a histogram whose counts are not one more than its bounds",
        ),
        (
            histograms("down", &[2.0, 1.0], &[1, 1, 1]),
            Reason::InvalidHistogram,
            "a histogram whose bounds do not go up",
        ),
        (
            histograms("nan", &[f64::NAN], &[1, 1]),
            Reason::InvalidHistogram,
            "a histogram whose bounds do not go up",
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
        let sent = exporters.exports.lock().unwrap()[0].samples;
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
