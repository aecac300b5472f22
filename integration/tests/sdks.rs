//! What SDKs push through the gateway arrives as Prometheus itself would have it.
//!
//! Python and JavaScript record with all instruments, in both temporalities, and
//! export by gRPC, http/protobuf and http/json. Each collection goes to the gateway
//! and, as it is, to Prometheus' own OTLP endpoint with its conversion of deltas.
//! Then the two databases are the same to the bit, but for this:
//!
//! - **Empty buckets.** Prometheus keeps those that an SDK lists in an exponential
//!   histogram; the exporter writes the filled ones, which mean the same and are what
//!   AMP counts against its limit.
//! - **Instances.** A resource without `service.instance.id` has no `instance` in
//!   Prometheus; the gateway names it after its peer.

use std::{collections::BTreeMap, path::Path};

use integration::{
    amp::{Series, Value},
    in_process,
    prometheus::{Program, Prometheus},
    sdks::{self, Targets},
};
use proto::v1;

/// Samples by series and time.
type Samples = BTreeMap<String, Vec<(i64, Value)>>;

/// The job of the service without an instance.
const ANONYMOUS: &str = "sdks/anonymous";

/// Samples as they are compared: buckets without the empty ones.
fn samples(series: Vec<Series>) -> Samples {
    let all = series.into_iter().map(|series| {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let samples = series.samples.into_iter().map(|sample| {
            let value = match sample.value {
                Value::Histogram(histogram) => Value::Histogram(filled(*histogram).into()),
                float @ Value::Float(_) => float,
            };
            (sample.timestamp, value)
        });
        (labels.join(","), samples.collect())
    });
    all.collect()
}

/// The histogram with one span a filled bucket.
fn filled(mut histogram: v1::Histogram) -> v1::Histogram {
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

/// The series that the gateway has named after its peer, as they came.
fn unnamed(series: Vec<Series>) -> Vec<Series> {
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

/// Prometheus' own endpoint, and a server that is written to.
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
async fn sdks_data_is_what_prometheus_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, backend) = servers(folder.path()).await;
    let config = folder.path().join("prometheus.yml");
    let url = backend.remote_write_url();
    std::fs::write(&config, format!("remote_write:\n- url: {url}\n")).unwrap();
    let mut flags = in_process::own_ports(&["grpc", "web"]);
    flags.push(format!("--config.file={}", config.display()));
    let exporter = in_process::exporter(&flags).await.unwrap();
    let mut flags = in_process::own_ports(&["otlp.grpc", "otlp.http", "web"]);
    flags.push(format!("--exporter.endpoints={}", exporter.addresses.grpc));
    let gateway = in_process::gateway(&flags).await.unwrap();
    let targets = Targets {
        grpc: format!("http://{}", gateway.addresses.grpc),
        http: format!("http://{}", gateway.addresses.http),
        prometheus: endpoint.url(),
    };
    sdks::python().await.unwrap().push(&targets).await.unwrap();
    sdks::node().await.unwrap().push(&targets).await.unwrap();

    let expected = samples(endpoint.read_all().await.unwrap());
    let found = samples(unnamed(backend.read_all().await.unwrap()));
    // Five services of Python and six of JavaScript, of 26 series each and more.
    assert!(expected.len() > 11 * 20, "{}", expected.len());
    let series: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for series in series {
        assert_eq!(found.get(series), expected.get(series), "{series}");
    }
    gateway.stop().await.unwrap();
    exporter.stop().await.unwrap();
}
