//! Keys of the `remote_write` section: two destinations with different settings.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router, body::Bytes, extract::State, http::HeaderMap, http::Uri, response::IntoResponse,
};
use clap::Parser;
use exporter_svc::{Args, bind};
use mesh_base::shutdown;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
};
use parking_lot::Mutex;
use prost::Message;
use proto::{v1, v2};

/// URI, headers and decompressed body of each request.
type Seen = Arc<Mutex<Vec<(Uri, HeaderMap, Vec<u8>)>>>;

/// Starts a backend, which also serves as a forward proxy.
async fn backend() -> (String, Seen) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().fallback(write).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, seen)
}

async fn write(
    State(seen): State<Seen>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    seen.lock().push((uri, headers, message));
    // The second destination receives two samples.
    [("x-prometheus-remote-write-samples-written", "2")]
}

fn names(series: impl Iterator<Item = String>) -> BTreeSet<String> {
    series.collect()
}

#[tokio::test]
async fn each_destination_follows_its_section() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ((proxy, proxied), (direct, straight)) = (backend().await, backend().await);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.yml");
    let config = format!(
        "global: {{external_labels: {{region: r}}}}\n\
         remote_write:\n\
         - name: one\n\
         \x20 url: http://amp.invalid/write\n\
         \x20 proxy_url: {proxy}\n\
         \x20 headers: {{x-scope-orgid: tenant}}\n\
         \x20 basic_auth: {{username: u, password: p}}\n\
         \x20 metadata_config: {{send: false}}\n\
         \x20 write_relabel_configs:\n\
         \x20 - {{source_labels: [__name__], regex: b, action: drop}}\n\
         \x20 - {{target_label: stage, replacement: test}}\n\
         - name: two\n\
         \x20 url: {direct}/write\n\
         \x20 protobuf_message: io.prometheus.write.v2.Request\n"
    );
    std::fs::write(&file, config).unwrap();
    let bound = bind(Args::parse_from([
        "exporter",
        &format!("--config.file={}", file.display()),
        "--grpc.listen-address=127.0.0.1:0",
        "--web.listen-address=127.0.0.1:0",
        "--remote-write.allow-http",
    ]));
    let bound = bound.await.unwrap();
    let grpc = format!("http://{}", bound.addresses.grpc);
    let (_trigger, shutdown) = shutdown::channel();
    tokio::spawn(bound.run(shutdown));
    let metric = |name: &str| Metric {
        name: name.to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: 1_000_000,
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: ["a", "b"].map(metric).into(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let mut client = MetricsServiceClient::connect(grpc).await.unwrap();
    let response = client.export(request).await.unwrap().into_inner();
    assert_eq!(response.partial_success, None);

    let (uri, headers, message) = proxied.lock().remove(0);
    assert_eq!(uri.to_string(), "http://amp.invalid/write");
    assert_eq!(headers["x-scope-orgid"], "tenant");
    assert_eq!(headers["authorization"], "Basic dTpw");
    let request = v1::WriteRequest::decode(message.as_slice()).unwrap();
    let text = |label: &v1::Label| format!("{}={}", label.name, label.value);
    let series = request.timeseries.iter();
    let series: Vec<Vec<_>> = series
        .map(|s| s.labels.iter().map(text).collect())
        .collect();
    assert_eq!(series, [["__name__=a", "region=r", "stage=test"]]);

    let (_, headers, message) = straight.lock().remove(0);
    assert_eq!(headers["x-prometheus-remote-write-version"], "2.0.0");
    assert!(!headers.contains_key("authorization"));
    let request = v2::Request::decode(message.as_slice()).unwrap();
    let symbol = |reference: u32| request.symbols[reference as usize].clone();
    let found = names(request.timeseries.iter().map(|s| symbol(s.labels_refs[1])));
    assert_eq!(found, names(["a", "b"].map(str::to_owned).into_iter()));
}
