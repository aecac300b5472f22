//! Exports against a scripted backend.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use mesh_contract::{
    batch::{Batch, Ha},
    export::{Export, ExportError, Progress, failure},
    report::ExportResponse,
    verdict::{Reason, Verdict},
};
use mesh_model::config::{http::HttpClientConfig, remote_write::*};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use proto::v1;
use tokio::sync::Notify;
use tonic::Code;

use super::*;
use crate::{
    destination::{MetricFamilies, Options},
    translate::limits::LabelLimits,
};

/// Backend that responds as scripted and records requests.
#[derive(Clone, Default)]
pub(crate) struct Backend(Arc<BackendState>);

#[derive(Default)]
struct BackendState {
    script: Mutex<VecDeque<Scripted>>,
    requests: Mutex<Vec<v1::WriteRequest>>,
    /// Prefix of names that the backend refuses, with the whole request.
    refused: Mutex<Option<&'static str>>,
    /// Names and timestamps of requests that were stored without a script.
    stored: Mutex<Vec<(String, i64)>>,
    probes: AtomicUsize,
    arrived: Notify,
    release: Notify,
}

/// One scripted response.
pub(crate) enum Scripted {
    Respond(u16, &'static str, Option<&'static str>),
    /// Responds with 200 after `release` is notified.
    Delayed,
}

// === impl Backend ===

impl Backend {
    /// Serves on a loopback port and returns the remote-write URL.
    pub(crate) async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/write", post(write))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        format!("http://{address}/write")
    }

    pub(crate) fn script(&self, scripted: Scripted) {
        self.0.script.lock().push_back(scripted);
    }

    /// Refuses whole requests with a name that begins with `prefix`, as Prometheus does.
    fn refuse(&self, prefix: &'static str) {
        *self.0.refused.lock() = Some(prefix);
    }

    /// Names and timestamps of the series that were stored, in order of arrival.
    fn stored(&self) -> Vec<(String, i64)> {
        self.0.stored.lock().clone()
    }

    /// Names and timestamps of the series of each request.
    pub(crate) fn requests(&self) -> Vec<Vec<(String, i64)>> {
        self.0.requests.lock().iter().map(names).collect()
    }

    pub(crate) async fn has(&self, requests: usize) {
        while self.0.requests.lock().len() < requests {
            self.0.arrived.notified().await;
        }
    }
}

/// Names and timestamps of the series of a request.
fn names(request: &v1::WriteRequest) -> Vec<(String, i64)> {
    let name = |series: &v1::TimeSeries| {
        let name = series.labels.iter().find(|l| l.name == "__name__").unwrap();
        (name.value.clone(), series.samples[0].timestamp)
    };
    request.timeseries.iter().map(name).collect()
}

async fn write(
    State(backend): State<Backend>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    assert_eq!(headers["content-encoding"], "snappy");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-prometheus-remote-write-version"], "0.1.0");
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let request = v1::WriteRequest::decode(plain.as_slice()).unwrap();
    if request.timeseries.is_empty() {
        backend.0.probes.fetch_add(1, Ordering::SeqCst);
        return ().into_response();
    }
    let scripted = backend.0.script.lock().pop_front();
    let series = names(&request);
    backend.0.requests.lock().push(request);
    backend.0.arrived.notify_one();
    let refused = *backend.0.refused.lock();
    let is_refused = |(name, _): &(String, i64)| refused.is_some_and(|it| name.starts_with(it));
    match scripted {
        None if series.iter().any(is_refused) => {
            (StatusCode::BAD_REQUEST, "out of order sample\n").into_response()
        }
        None => {
            backend.0.stored.lock().extend(series);
            ().into_response()
        }
        Some(Scripted::Respond(status, body, retry_after)) => {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            let mut response = (status, body).into_response();
            if let Some(after) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", after.parse().unwrap());
            }
            response
        }
        Some(Scripted::Delayed) => {
            backend.0.release.notified().await;
            ().into_response()
        }
    }
}

/// Minimal entry of `remote_write`.
pub(crate) fn entry(url: &str) -> RemoteWriteConfig {
    RemoteWriteConfig {
        url: url.parse().unwrap(),
        name: "backend".to_owned(),
        remote_timeout: Duration::from_secs(30),
        headers: Default::default(),
        write_relabel_configs: Vec::new(),
        protobuf_message: ProtobufMessage::V1,
        send_exemplars: false,
        send_native_histograms: true,
        convert_nhcb_to_classic: false,
        failed_request_logging: false,
        sigv4: None,
        http: HttpClientConfig::default(),
        queue: QueueConfig {
            max_samples_per_send: 10_000,
            max_shards: 50,
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            sample_age_limit: Duration::ZERO,
        },
        send_metadata: false,
        metadata_send_interval: Duration::from_secs(60),
        metadata_per_send: 2000,
    }
}

/// Ingest handler that writes to these backends.
pub(crate) async fn ingest(urls: &[&str]) -> Arc<Ingest> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut registry = Registry::default();
    let registered = MetricFamilies::register(&mut registry);
    let options = Options {
        request_bytes: 1 << 20,
        linger: Duration::from_millis(20),
        allow_http: false,
        cache_bytes: 1 << 20,
        cluster_on_pushes: true,
        label_limits: LabelLimits::NONE,
        connector: None,
    };
    let mut all = Vec::new();
    for (i, url) in urls.iter().enumerate() {
        let mut entry = entry(url);
        entry.name = format!("backend-{i}");
        all.push(
            Destination::start(&entry, &OtlpConfig::default(), &options, &registered)
                .await
                .unwrap(),
        );
    }
    let destinations = Destinations {
        all,
        external_labels: Labels::default(),
    };
    let limits = IngestLimits {
        memory: MemoryLimits {
            all: 1 << 20,
            one: 1 << 20,
        },
        timeout: Duration::from_secs(10),
    };
    Arc::new(Ingest::new(
        destinations,
        limits,
        Metrics::register(&mut registry),
    ))
}

/// Batch of one sample per series.
pub(crate) fn batch(series: &[(&str, i64)]) -> Bytes {
    let metric = |(name, time_ms): &(&str, i64)| Metric {
        name: (*name).to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                attributes: vec![KeyValue {
                    key: "job".to_owned(),
                    value: Some(AnyValue {
                        value: Some(any_value::Value::StringValue("x".to_owned())),
                    }),
                    ..Default::default()
                }],
                time_unix_nano: *time_ms as u64 * 1_000_000,
                value: Some(number_data_point::Value::AsDouble(1.0)),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics: series.iter().map(metric).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    Batch::frame(&resource.encode_to_vec())
}

fn scrape(replica: Option<&str>) -> BatchContext {
    let ha = replica.map(|replica| Ha {
        cluster: "c".to_owned(),
        replica: replica.to_owned(),
    });
    BatchContext {
        origin: Origin::Scrape,
        ha,
        ..Default::default()
    }
}

/// Exports as a sender of the mesh and interprets the reply.
async fn send(
    ingest: &Ingest,
    context: &BatchContext,
    payload: Bytes,
) -> Result<Verdict, ExportError> {
    send_within(ingest, context, payload, "10S").await
}

pub(crate) async fn send_within(
    ingest: &Ingest,
    context: &BatchContext,
    payload: Bytes,
    timeout: &str,
) -> Result<Verdict, ExportError> {
    send_again(ingest, context, payload, timeout, &Progress::default()).await
}

async fn send_again(
    ingest: &Ingest,
    context: &BatchContext,
    payload: Bytes,
    timeout: &str,
    progress: &Progress,
) -> Result<Verdict, ExportError> {
    let mut request = Request::new(payload);
    context.write(request.metadata_mut());
    Progress::write(std::slice::from_ref(progress), request.metadata_mut());
    request
        .metadata_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    let response = match ingest.export(request).await {
        Ok(response) => {
            let (metadata, body, _) = response.into_parts();
            ExportResponse::read(&metadata, body)
        }
        Err(status) => failure(status, 1)?,
    };
    Ok(response.verdict)
}

/// Progress of the only batch of a failed Export.
fn progress(error: &ExportError) -> Progress {
    let progress = error.report().progress.into_iter().next();
    progress.unwrap_or_default()
}

#[tokio::test]
async fn replies_after_the_backend_has_responded() {
    let backend = Backend::default();
    backend.script(Scripted::Delayed);
    let ingest = ingest(&[&backend.serve().await]).await;
    let context = scrape(Some("a"));
    let export = send(&ingest, &context, batch(&[("up", 1), ("down", 1)]));
    tokio::pin!(export);
    tokio::select! {
        _ = &mut export => panic!("answered before the backend"),
        () = backend.has(1) => {}
    }
    backend.0.release.notify_one();
    assert_eq!(export.await.unwrap(), Verdict::default());
    let request = backend.0.requests.lock()[0].clone();
    for series in request.timeseries {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|l| (l.name.as_str(), l.value.as_str()))
            .collect();
        assert_eq!(labels[0], ("__name__", labels[0].1));
        assert_eq!(
            labels[1..],
            [("__replica__", "a"), ("cluster", "c"), ("job", "x")]
        );
    }
}

#[tokio::test]
async fn concurrent_exports_share_a_request_per_ha_pair() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    let (a, b, none) = (scrape(Some("a")), scrape(Some("b")), scrape(None));
    let (one, two, three, four) = tokio::join!(
        send(&ingest, &a, batch(&[("one", 1)])),
        send(&ingest, &a, batch(&[("two", 1)])),
        send(&ingest, &b, batch(&[("one", 1)])),
        send(&ingest, &none, batch(&[("one", 1)])),
    );
    for answer in [one, two, three, four] {
        answer.unwrap();
    }
    let mut sizes: Vec<_> = backend.requests().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2]);
}

#[tokio::test]
async fn samples_of_one_series_go_in_successive_requests() {
    let backend = Backend::default();
    backend.script(Scripted::Delayed);
    let ingest = ingest(&[&backend.serve().await]).await;
    let context = scrape(None);
    // The third sample waits for the second, which waits for the first. The other
    // series does not wait.
    let many = send(&ingest, &context, batch(&[("m", 1), ("m", 2), ("m", 3)]));
    let later = async {
        backend.has(1).await;
        send(&ingest, &context, batch(&[("other", 9)]))
            .await
            .unwrap();
        assert_eq!(backend.requests().len(), 2);
        backend.0.release.notify_one();
    };
    let (answer, ()) = tokio::join!(many, later);
    answer.unwrap();
    let times: Vec<_> = backend
        .requests()
        .concat()
        .into_iter()
        .map(|(_, time)| time)
        .collect();
    assert_eq!(times, [1, 9, 2, 3]);
}

#[tokio::test]
async fn hundreds_of_samples_of_one_series_are_stored_in_order() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    let samples: Vec<_> = (1..=250).map(|time_ms| ("m", time_ms)).collect();
    let answer = send(&ingest, &BatchContext::default(), batch(&samples)).await;
    assert_eq!(answer.unwrap(), Verdict::default());
    let stored: Vec<_> = backend.requests().into_iter().flatten().collect();
    let expected: Vec<_> = samples.iter().map(|(n, t)| (n.to_string(), *t)).collect();
    assert_eq!(stored, expected);
}

/// Each sample of a series travels with all labels of the series.
#[tokio::test]
async fn rejects_series_beyond_the_memory_limit_before_it_writes_any() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    let name = "m".repeat(50_000);
    let point = |time: u64| NumberDataPoint {
        time_unix_nano: time * 1_000_000,
        ..Default::default()
    };
    let metric = Metric {
        name,
        data: Some(Data::Gauge(Gauge {
            data_points: (1..=100).map(point).collect(),
        })),
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        }],
        ..Default::default()
    };
    let payload = Batch::frame(&resource.encode_to_vec());
    let answer = send(&ingest, &BatchContext::default(), payload).await;
    let verdict = answer.unwrap();
    let (reason, rejected) = verdict.rejected[0];
    assert_eq!(reason, Reason::TooLarge);
    assert_eq!(rejected, 100);
    assert!(
        verdict
            .problem
            .is_some_and(|text| text.contains("--ingest.max-export-bytes"))
    );
    assert!(backend.requests().is_empty());
    assert_eq!(ingest.budget.reserved(), 0);
}

#[tokio::test]
async fn repairs_strings_that_are_not_utf8() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    // The last byte of the name of `spoilt`, and the value of the attribute of `kept`.
    let mut spoilt = batch(&[("spoilt", 1)]).to_vec();
    let name = spoilt.windows(6).position(|text| text == b"spoilt");
    spoilt[name.unwrap() + 5] = 0xff;
    let mut kept = batch(&[("kept", 1)]).to_vec();
    let value = kept.iter().rposition(|byte| *byte == b'x');
    kept[value.unwrap()] = 0xe9;
    let payload = [spoilt, kept].concat().into();
    let answer = send(&ingest, &BatchContext::default(), payload).await;
    assert_eq!(answer.unwrap().rejected, [(Reason::InvalidName, 1)]);
    let request = backend.0.requests.lock()[0].clone();
    assert_eq!(request.timeseries.len(), 1);
    let labels = &request.timeseries[0].labels;
    let labels: Vec<_> = labels.iter().map(|l| (&*l.name, &*l.value)).collect();
    assert_eq!(labels, [("__name__", "kept"), ("job", "\u{fffd}")]);
}

#[tokio::test]
async fn a_failure_returns_later_samples_of_its_series() {
    let backend = Backend::default();
    backend.script(Scripted::Respond(500, "unwell", None));
    let ingest = ingest(&[&backend.serve().await]).await;
    let answer = send(&ingest, &scrape(None), batch(&[("m", 1), ("m", 2)])).await;
    match answer {
        Err(ExportError::Retry { after, status }) => {
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains("unwell"), "{}", status.message());
            assert!(after.unwrap() >= Duration::from_millis(25), "{after:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(backend.requests(), [[("m".to_owned(), 1)]]);
}

#[tokio::test]
async fn replies_with_the_verdict() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    backend.script(Scripted::Respond(202, "not the elected one", None));
    let verdict = send(&ingest, &scrape(Some("b")), batch(&[("a", 1), ("b", 1)]))
        .await
        .unwrap();
    assert_eq!(
        verdict,
        Verdict {
            deduplicated: 2,
            ..Default::default()
        }
    );
    let body = "err: out of order sample. timestamp=x, series={__name__=\"a\", job=\"x\"}";
    backend.script(Scripted::Respond(400, body, None));
    let verdict = send(&ingest, &scrape(None), batch(&[("a", 1), ("b", 2)]))
        .await
        .unwrap();
    assert_eq!(verdict.rejected, [(Reason::OutOfOrder, 1)]);
    assert!(verdict.problem.unwrap().contains("out of order sample"));
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn rejects_exports_while_a_destination_is_throttled() {
    let backend = Backend::default();
    backend.script(Scripted::Respond(429, "Rate exceeded", Some("30")));
    let ingest = ingest(&[&backend.serve().await]).await;
    for name in ["first", "second"] {
        match send(&ingest, &scrape(None), batch(&[(name, 1)])).await {
            Err(ExportError::Retry { after, status }) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(after.unwrap() > Duration::from_secs(25), "{after:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn cancels_a_post_before_its_deadline_and_probes_the_backend() {
    let backend = Backend::default();
    backend.script(Scripted::Delayed);
    let ingest = ingest(&[&backend.serve().await]).await;
    let started = Instant::now();
    let answer = send_within(&ingest, &scrape(None), batch(&[("m", 1)]), "400m").await;
    assert!(started.elapsed() < Duration::from_millis(400));
    let error = answer.unwrap_err();
    // The backend answered the probe at once, so it is not slow.
    assert!(!error.is_slow());
    match error {
        ExportError::Retry { status, .. } => assert_eq!(status.code(), Code::DeadlineExceeded),
        other => panic!("{other:?}"),
    }
    assert_eq!(backend.0.probes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn does_not_post_without_time_left() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    let answer = send_within(&ingest, &scrape(None), batch(&[("m", 1)]), "50m").await;
    assert!(
        matches!(answer, Err(ExportError::Retry { .. })),
        "{answer:?}"
    );
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn an_unreachable_backend_leads_to_a_settled_retry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    drop(listener);
    let ingest = ingest(&[&url]).await;
    let answer = send(&ingest, &scrape(None), batch(&[("m", 1)])).await;
    assert!(
        matches!(answer, Err(ExportError::Retry { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn replies_after_all_destinations_have_responded() {
    let (one, two) = (Backend::default(), Backend::default());
    two.script(Scripted::Respond(503, "", None));
    let ingest = ingest(&[&one.serve().await, &two.serve().await]).await;
    let context = scrape(None);
    let error = send(&ingest, &context, batch(&[("m", 1)]))
        .await
        .unwrap_err();
    assert!(matches!(error, ExportError::Retry { .. }), "{error:?}");
    // The sender retries without progress, as after a crash of the exporter.
    send(&ingest, &context, batch(&[("m", 1)])).await.unwrap();
    assert_eq!(one.requests(), two.requests());
}

#[tokio::test]
async fn a_retry_skips_completed_destinations() {
    let (one, two) = (Backend::default(), Backend::default());
    one.script(Scripted::Respond(400, "user=1: sample too old", None));
    two.script(Scripted::Respond(503, "", None));
    two.script(Scripted::Delayed);
    let ingest = ingest(&[&one.serve().await, &two.serve().await]).await;
    let context = scrape(None);
    let error = send(&ingest, &context, batch(&[("m", 1)]))
        .await
        .unwrap_err();
    let reported = progress(&error);
    // A timeout of the second destination returns the same progress.
    let again = send_again(&ingest, &context, batch(&[("m", 1)]), "2S", &reported).await;
    let error = again.unwrap_err();
    assert!(matches!(error, ExportError::Retry { .. }), "{error:?}");
    assert_eq!(progress(&error), reported);
    let again = send_again(&ingest, &context, batch(&[("m", 1)]), "10S", &reported).await;
    // The verdict is that of the destination that stored less, in whichever attempt.
    assert_eq!(again.unwrap().rejected, [(Reason::TooOld, 1)]);
    assert_eq!((one.requests().len(), two.requests().len()), (1, 3));
}

#[tokio::test]
async fn rejects_malformed_otlp_without_retry() {
    let backend = Backend::default();
    let ingest = ingest(&[&backend.serve().await]).await;
    for bytes in [&b"\x0a\x05ab"[..], b"\x0a\x02\x12\x05"] {
        let verdict = send(&ingest, &scrape(None), Bytes::from_static(bytes))
            .await
            .unwrap();
        assert_eq!(verdict.rejected, [(Reason::Malformed, 1)]);
    }
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn rejects_exports_beyond_the_memory_budget() {
    let backend = Backend::default();
    backend.script(Scripted::Delayed);
    let ingest = ingest(&[&backend.serve().await]).await;
    let series: Vec<_> = (0..10_000).map(|i| format!("m{i}")).collect();
    let series: Vec<_> = series.iter().map(|name| (name.as_str(), 1)).collect();
    let context = scrape(None);
    // An Export that needs the whole budget may use it while no other is in flight.
    let large = send(&ingest, &context, batch(&series));
    let small = async {
        backend.has(1).await;
        let answer = send(&ingest, &context, batch(&[("m", 1)])).await;
        backend.0.release.notify_one();
        answer
    };
    let (large, small) = tokio::join!(large, small);
    large.unwrap();
    match small {
        Err(ExportError::Retry { status, .. }) => {
            assert_eq!(status.code(), Code::ResourceExhausted);
        }
        other => panic!("{other:?}"),
    }
}

/// Sends until the Export is complete, as a lane does. Returns the verdict and the number of
/// attempts.
async fn send_until_complete(ingest: &Ingest, payload: &Bytes) -> (Verdict, usize) {
    let mut reported = Progress::default();
    for attempt in 1.. {
        let sent = send_again(ingest, &scrape(None), payload.clone(), "10S", &reported).await;
        match sent {
            Ok(verdict) => return (verdict, attempt),
            Err(error) => {
                assert!(matches!(error, ExportError::Retry { .. }), "{error:?}");
                reported = progress(&error).or(reported);
            }
        }
    }
    unreachable!()
}

#[tokio::test]
async fn loses_only_what_a_backend_refuses_that_rejects_whole_requests() {
    let backend = Backend::default();
    let bad: Vec<_> = (0..60).map(|i| format!("bad{i}")).collect();
    let good: Vec<_> = (0..40).map(|i| format!("good{i}")).collect();
    let names = bad.iter().chain(&good);
    let series: Vec<_> = names.map(|name| (name.as_str(), 1)).collect();
    backend.refuse("bad");
    let ingest = ingest(&[&backend.serve().await]).await;
    let (verdict, attempts) = send_until_complete(&ingest, &batch(&series)).await;
    assert_eq!(verdict.rejected, [(Reason::OutOfOrder, 60)]);
    assert!((2..=8).contains(&attempts), "{attempts}");
    let mut stored: Vec<_> = backend.stored().into_iter().map(|(name, _)| name).collect();
    stored.sort();
    let mut expected = good;
    expected.sort();
    assert_eq!(stored, expected);
    assert_eq!(ingest.budget.reserved(), 0);
}

/// Later samples of a series wait until the fate of its earlier ones is known.
#[tokio::test]
async fn no_sample_overtakes_an_undecided_one() {
    let backend = Backend::default();
    let names: Vec<_> = (0..30).map(|i| format!("bad{i}")).collect();
    let of = |time| names.iter().map(move |name| (name.as_str(), time));
    let series: Vec<_> = of(1)
        .chain([("late", 1)])
        .chain(of(2))
        .chain([("late", 2)])
        .collect();
    backend.refuse("bad");
    let ingest = ingest(&[&backend.serve().await]).await;
    let (verdict, _) = send_until_complete(&ingest, &batch(&series)).await;
    assert_eq!(verdict.rejected, [(Reason::OutOfOrder, 60)]);
    let late = |(name, time): &(String, i64)| (name == "late").then_some(*time);
    let stored: Vec<_> = backend.stored().iter().filter_map(late).collect();
    assert_eq!(stored, [1, 2]);
    let mut newest = std::collections::HashMap::new();
    for (name, time) in backend.requests().concat() {
        let before = newest.insert(name.clone(), time).unwrap_or(0);
        assert!(before <= time, "{name} at {time} after {before}");
    }
}

/// Exports to one destination as a sender with lanes of its own for it does.
async fn send_to(
    ingest: &Ingest,
    destination: &str,
    payload: Bytes,
) -> Result<Response<Bytes>, Status> {
    let export = Export {
        context: Arc::new(BatchContext::default()),
        payload: payload.clone(),
        batches: BatchSizes::default(),
        destination: Some(destination.into()),
        samples: 1,
        deadline: Instant::now(),
        progress: Vec::new(),
    };
    let mut request = Request::new(payload);
    export.write(request.metadata_mut());
    request
        .metadata_mut()
        .insert("grpc-timeout", "10S".parse().unwrap());
    ingest.export(request).await
}

#[tokio::test]
async fn a_destination_that_hangs_leaves_memory_to_the_others() {
    let (good, hangs) = (Backend::default(), Backend::default());
    let ingest = ingest(&[&good.serve().await, &hangs.serve().await]).await;
    let payload = |name: &str| {
        let name = name.repeat(2_500);
        let names: Vec<_> = (0..6).map(|i| format!("{name}{i}")).collect();
        let series: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        batch(&series)
    };
    for _ in 0..9 {
        hangs.script(Scripted::Delayed);
    }
    let names = ["aaa", "bbb", "ccc", "ddd", "eee", "fff"];
    let pending = names.map(|name| send_to(&ingest, "backend-1", payload(name)));
    let mut pending = std::pin::pin!(futures::future::select_all(pending.map(Box::pin)));
    // The first answer is a refusal.
    let (refused, ..) = (&mut pending).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("backend-1"), "{refused}");
    let stored = send_to(&ingest, "backend-0", payload("good")).await;
    assert!(stored.is_ok(), "{stored:?}");
}

#[tokio::test]
async fn one_destination_splits_while_the_other_is_written_once() {
    let (one, two) = (Backend::default(), Backend::default());
    two.refuse("bad");
    let ingest = ingest(&[&one.serve().await, &two.serve().await]).await;
    let names: Vec<_> = (0..30).map(|i| format!("bad{i}")).collect();
    let series: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let (verdict, _) = send_until_complete(&ingest, &batch(&series)).await;
    assert_eq!(verdict.rejected, [(Reason::OutOfOrder, 30)]);
    assert_eq!(one.requests().len(), 1);
}

#[tokio::test]
async fn holds_samples_while_the_backend_refuses_the_token() {
    for status in [301, 401, 403, 404, 405, 407, 411, 415] {
        let backend = Backend::default();
        backend.script(Scripted::Respond(status, "no", None));
        let ingest = ingest(&[&backend.serve().await]).await;
        for name in ["first", "second"] {
            // The next attempt is later than the deadline.
            let sent = send_within(&ingest, &scrape(None), batch(&[(name, 1)]), "2S").await;
            match sent {
                Err(ExportError::Retry { after, status }) => {
                    assert!(after.unwrap() > Duration::from_secs(2), "{after:?}");
                    assert!(
                        status.message().contains("no") || name == "second",
                        "{status}"
                    );
                }
                other => panic!("{status}: {other:?}"),
            }
        }
        assert_eq!(backend.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn rejects_points_that_are_many_times_as_large_once_decoded() {
    let ingest = ingest(&[&Backend::default().serve().await]).await;
    let gauge = Gauge {
        data_points: vec![NumberDataPoint::default(); 50_000],
    };
    let metric = Metric {
        data: Some(Data::Gauge(gauge)),
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        }],
        ..Default::default()
    };
    let payload = Batch::frame(&resource.encode_to_vec());
    assert!(payload.len() < 200_000);
    let answer = send(&ingest, &BatchContext::default(), payload).await;
    assert_eq!(answer.unwrap().rejected, [(Reason::TooLarge, 50_000)]);
    assert_eq!(ingest.budget.reserved(), 0);
}

#[tokio::test]
async fn refuses_an_export_above_the_limit_for_good() {
    let ingest = ingest(&[]).await;
    let answer = send(&ingest, &BatchContext::default(), vec![0; 2 << 20].into()).await;
    let verdict = answer.unwrap();
    assert_eq!(verdict.rejected, [(Reason::TooLarge, 1)]);
    assert!(
        verdict
            .problem
            .is_some_and(|text| text.contains("--ingest.max-bytes"))
    );
}

#[tokio::test]
async fn asks_for_an_export_to_each_of_several_destinations() {
    let (one, two) = (Backend::default(), Backend::default());
    let ingest = ingest(&[&one.serve().await, &two.serve().await]).await;
    let export = |destination: Option<&str>| {
        let payload = batch(&[("up", 1)]);
        let export = Export {
            context: Arc::new(scrape(Some("a"))),
            batches: BatchSizes::default(),
            destination: destination.map(Arc::from),
            samples: 1,
            deadline: Instant::now() + Duration::from_secs(10),
            progress: Vec::new(),
            payload: payload.clone(),
        };
        let mut request = Request::new(payload);
        export.write(request.metadata_mut());
        request
    };
    let status = ingest.export(export(None)).await.unwrap_err();
    let Err(error @ ExportError::Retry { .. }) = failure(status, 1) else {
        panic!("expected a settled failure");
    };
    assert_eq!(error.report().destinations, ["backend-0", "backend-1"]);
    assert!(one.requests().is_empty() && two.requests().is_empty());
    ingest.export(export(Some("backend-1"))).await.unwrap();
    assert!(one.requests().is_empty());
    assert_eq!(two.requests().len(), 1);
}
