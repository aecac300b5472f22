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
    takes: Duration,
}

impl Exporters {
    fn intake(&self, ack: Ack, args: &OutboxArgs) -> (Intake, Workers) {
        let exporters = self.clone();
        let service = tower::service_fn(move |export| {
            let exporters = exporters.clone();
            async move {
                exporters.exports.lock().unwrap().push(export);
                tokio::time::sleep(exporters.takes).await;
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
async fn points_of_one_stream_are_sent_one_after_another() {
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
    let exports = exporters.exports.lock().unwrap();
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

/// Two pushes of one resource, the second of whose client leaves while the first is
/// under way. Returns how many data points exporters got, and what is given up.
async fn one_leaves(ack: Ack) -> (u64, u64) {
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
    let exports = exporters.exports.lock().unwrap();
    let sent = exports.iter().map(|export| export.samples).sum();
    (sent, account.expired.values().sum())
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_client_has_left_is_the_clients_again() {
    assert_eq!(one_leaves(Ack::Stored).await, (1, 2));
    // It was taken.
    assert_eq!(one_leaves(Ack::Accepted).await, (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_was_given_up_may_come_again() {
    let exporters = Exporters {
        takes: Duration::from_secs(5),
        ..Default::default()
    };
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    let (under_way, queued) = (push("first", 1), push("second", 2));
    for request in [&under_way, &queued] {
        let given_up = take(&intake, request.clone());
        let given_up = tokio::time::timeout(Duration::from_secs(1), given_up).await;
        assert!(given_up.is_err());
    }
    // The one that stayed is sent once, the other one now.
    for request in [under_way, queued] {
        take(&intake, request).await.unwrap();
    }
    let exports = exporters.exports.lock().unwrap();
    let sent: Vec<_> = exports.iter().map(|export| export.samples).collect();
    assert_eq!(sent, [1, 2]);
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
