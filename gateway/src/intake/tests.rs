use std::sync::Mutex;

use mesh::{
    export::{Export, ExportError},
    outbox::{OutboxArgs, Workers},
};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, NumberDataPoint, ScopeMetrics};

use super::*;

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
        (Intake::new(outbox, ack, IntakeMetrics::default()), workers)
    }
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
    let answer = intake.take(push("x", 3)).await.unwrap();
    assert_eq!(answer.partial_success, None);
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
    let partial = intake
        .take(push("x", 3))
        .await
        .unwrap()
        .partial_success
        .unwrap();
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
    let busy = intake
        .take(push("a resource that does not fit", 3))
        .await
        .unwrap_err();
    assert_eq!(busy.after, Duration::from_secs(5));
}

#[tokio::test]
async fn a_push_without_points_is_answered() {
    let exporters = Exporters::default();
    let (intake, _workers) = exporters.intake(Ack::Stored, &OutboxArgs::default());
    intake.take(push("x", 0)).await.unwrap();
    intake
        .take(ExportMetricsServiceRequest::default())
        .await
        .unwrap();
    assert!(exporters.exports.lock().unwrap().is_empty());
}
