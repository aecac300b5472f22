//! Pushes metrics of an OpenTelemetry SDK through the gateway to the backend.

use harness::{
    in_process::{InProcess, Running},
    topology::{Config, Mesh, RemoteWrite, Topology},
};
use stand_ins::{
    amp::{Amp, AmpOptions, Fault, Outcome},
    otel::{COUNTER, Pusher},
};

/// An SDK that pushes through a gateway and an exporter to a stand-in.
struct Pipeline {
    amp: Amp,
    pusher: Option<Pusher>,
    _mesh: Mesh<Running>,
}

impl Pipeline {
    async fn start() -> Self {
        let amp = Amp::start(AmpOptions::default()).await.unwrap();
        let config = Config::default().remote_write(RemoteWrite::to(&amp));
        let mesh = Topology::new(config).exporters(1).gateways(1);
        let mesh = mesh.start(&InProcess).await.unwrap();
        let gateway = mesh.gateways[0].addresses.grpc().unwrap();
        let pusher = Pusher::new(&gateway.to_string()).unwrap();
        Self {
            amp,
            pusher: Some(pusher),
            _mesh: mesh,
        }
    }

    async fn push(&mut self) -> anyhow::Result<()> {
        let pusher = self.pusher.take().unwrap();
        let (pusher, outcome) = pusher.push().await.unwrap();
        self.pusher = Some(pusher);
        outcome
    }

    fn values(&self, selector: &str) -> Vec<f64> {
        let series = self.amp.backend().select(selector).unwrap();
        let samples = series.iter().flat_map(|series| &series.samples);
        samples
            .map(|sample| sample.value.as_float().expect(selector))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_translated_and_stored_without_ha_labels() {
    let mut pipeline = Pipeline::start().await;
    for _ in 0..3 {
        pipeline.push().await.unwrap();
    }
    let selector = format!(
        r#"{COUNTER}{{job="demo-sdk",instance="sdk-0",kind="book",cluster="",__replica__=""}}"#
    );
    assert_eq!(pipeline.values(&selector), [1.0, 2.0, 3.0]);
    let buckets = r#"demo_order_duration_seconds_bucket{le="+Inf"}"#;
    assert_eq!(pipeline.values(buckets), [1.0, 2.0, 3.0]);
    assert_eq!(
        pipeline.values("demo_order_duration_seconds_sum"),
        [0.25, 0.5, 0.75]
    );
    // The gateway itself sends nothing twice.
    let totals = pipeline.amp.backend().totals();
    assert_eq!(totals.of(Outcome::Duplicate), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_a_push_after_it_is_stored() {
    let mut pipeline = Pipeline::start().await;
    pipeline
        .amp
        .backend()
        .faults()
        .next([Fault::status(500, "oops"), Fault::throttle(1)]);
    pipeline.push().await.unwrap();
    assert_eq!(pipeline.amp.backend().faults().remaining(), 0);
    assert_eq!(
        pipeline.values(&format!("{COUNTER}{{kind=\"book\"}}")),
        [1.0]
    );
}
