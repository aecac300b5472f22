//! Compares the gateway's translation of OTLP with Prometheus's own.
//!
//! The SDKs of Python and JavaScript record with all instruments in both temporalities. They
//! export by gRPC, http/protobuf and http/json. Each collection goes to the gateway, and
//! unchanged to Prometheus's OTLP endpoint with delta conversion. The two databases must be
//! equal to the bit, with two exceptions:
//!
//! - **Empty buckets.** Prometheus stores the empty buckets of an exponential histogram. The
//!   exporter writes only the non-empty ones. Both mean the same, and AMP counts buckets
//!   against its limit.
//! - **Instances.** In Prometheus, a resource without `service.instance.id` has no `instance`
//!   label. The gateway sets the label to the address of its peer.

use std::{collections::BTreeMap, path::Path};

use harness::{
    in_process::InProcess,
    prometheus::{Program, Prometheus},
    sdks::{self, Targets},
    topology::{Config, RemoteWrite, Topology},
};
use proto::v1;
use stand_ins::amp::{Series, Value};

/// Samples of each series: timestamp and value.
type Samples = BTreeMap<String, Vec<(i64, Value)>>;

/// Job of the service without an instance.
const ANONYMOUS: &str = "sdks/anonymous";

/// Converts series for the comparison, without empty buckets.
fn samples(series: Vec<Series>) -> Samples {
    let all = series.into_iter().map(|series| {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let samples = series.samples.into_iter().map(|sample| {
            let value = match sample.value {
                Value::Histogram(histogram) => {
                    Value::Histogram(without_empty_buckets(*histogram).into())
                }
                float @ Value::Float(_) => float,
            };
            (sample.timestamp, value)
        });
        (labels.join(","), samples.collect())
    });
    all.collect()
}

/// Rewrites a histogram with one span per non-empty bucket.
fn without_empty_buckets(mut histogram: v1::Histogram) -> v1::Histogram {
    let sides = [
        (
            &mut histogram.negative_spans,
            &mut histogram.negative_deltas,
        ),
        (
            &mut histogram.positive_spans,
            &mut histogram.positive_deltas,
        ),
    ];
    for (spans, deltas) in sides {
        let (mut index, mut count, mut next) = (0, 0, deltas.iter());
        let mut buckets = Vec::new();
        for span in spans.iter() {
            index += span.offset;
            for _ in 0..span.length {
                count += next.next().expect("a delta for each bucket");
                buckets.push((index, count));
                index += 1;
            }
        }
        buckets.retain(|(_, count)| *count != 0);
        *spans = buckets
            .iter()
            .map(|(offset, _)| v1::BucketSpan {
                offset: *offset,
                length: 1,
            })
            .collect();
        *deltas = buckets.into_iter().map(|(_, count)| count).collect();
    }
    histogram
}

/// Removes the `instance` label that the gateway set to the address of its peer.
fn without_peer_instance(series: Vec<Series>) -> Vec<Series> {
    let all = series.into_iter().map(|mut series| {
        if series.labels.get("job") == Some(ANONYMOUS) {
            assert_eq!(series.labels.get("instance"), Some("127.0.0.1"));
            let others = series.labels.iter().filter(|(name, _)| *name != "instance");
            series.labels = others.collect();
        }
        series
    });
    all.collect()
}

/// Starts Prometheus's OTLP endpoint, and a Prometheus server that the exporter writes to.
async fn servers(folder: &Path) -> (Prometheus, Prometheus) {
    let config = folder.join("empty.yml");
    std::fs::write(&config, "{}\n").unwrap();
    let endpoint = sdks::endpoint().await.unwrap();
    let endpoint = Prometheus::start_with(&endpoint, &config, &[]);
    let program = Program::find().await.unwrap();
    let flags = ["--enable-feature=native-histograms".to_owned()];
    let backend = Prometheus::start_with(&program, &config, &flags);
    (endpoint.await.unwrap(), backend.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn translates_otlp_as_prometheus_does() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, backend) = servers(folder.path()).await;
    let config = Config::default().remote_write(RemoteWrite::new(&backend.remote_write_url()));
    let mesh = Topology::new(config).exporters(1).gateways(1);
    let mesh = mesh.start(&InProcess).await.unwrap();
    let gateway = mesh.gateways[0].addresses;
    let targets = Targets {
        grpc: format!("http://{}", gateway.grpc().unwrap()),
        http: format!("http://{}", gateway.http().unwrap()),
        prometheus: endpoint.url(),
    };
    sdks::python().await.unwrap().push(&targets).await.unwrap();
    sdks::node().await.unwrap().push(&targets).await.unwrap();

    let expected = samples(endpoint.read_all().await.unwrap());
    let found = samples(without_peer_instance(backend.read_all().await.unwrap()));
    // Five services of Python and six of JavaScript, with at least 26 series each.
    assert!(expected.len() > 11 * 20, "{}", expected.len());
    let series: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for series in series {
        assert_eq!(found.get(series), expected.get(series), "{series}");
    }
    mesh.stop().await.unwrap();
}
