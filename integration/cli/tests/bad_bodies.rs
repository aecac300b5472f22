//! Targets with endless or broken bodies. Each costs at most the configured limits, and other
//! targets are scraped as usual.

use std::{io::Write, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{
        Request,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use harness::{
    in_process::InProcess,
    metrics::Metrics,
    spec::Role,
    topology::{Config, RemoteWrite, Topology},
};
use http_body_util::BodyExt;
use mesh_model::config::http::HttpClientConfig;
use mesh_net::http_client::HttpClient;
use stand_ins::amp::{Amp, AmpOptions, Value};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

const MIB: usize = 1 << 20;
const BUDGET: usize = 32 * MIB;
const MAX_BODY: usize = 8 * MIB;
const TEXT: &str = "text/plain; version=0.0.4";

/// A body that repeats `repeated` without end after `start`.
fn endless(start: &'static str, repeated: &'static str) -> impl IntoResponse {
    use tokio_stream::StreamExt;
    let chunk = repeated.repeat((64 << 10) / repeated.len());
    let chunks = tokio_stream::iter(std::iter::repeat_with(move || chunk.clone()));
    let all = tokio_stream::once(start.to_owned()).chain(chunks);
    let body = Body::from_stream(all.map(Ok::<_, std::io::Error>));
    ([(CONTENT_TYPE, TEXT)], body)
}

/// A decompression bomb: a gibibyte of comments in a few mebibytes. It repeats one member of
/// a gzip file.
fn bomb() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&vec![b'#'; 16 * MIB]).unwrap();
    gzip.finish().unwrap().repeat(64)
}

async fn target() -> String {
    let bomb = bomb();
    let app = Router::new()
        .route("/good", get(|| async { ([(CONTENT_TYPE, TEXT)], "a 1\n") }))
        .route("/stream", get(|| async { endless("", "a 1\n") }))
        .route("/line", get(|| async { endless("a{b=\"", "xxxxxxxx") }))
        .route("/labels", get(|| async { endless("a{", "a=\"\",b=\"\",") }))
        .route(
            "/garbage",
            get(|| async { ([(CONTENT_TYPE, TEXT)], "a 1\nb 2\nc\n") }),
        )
        .route(
            "/bomb",
            get(move || {
                let headers = [(CONTENT_TYPE, TEXT), (CONTENT_ENCODING, "gzip")];
                let bomb = bomb.clone();
                async move { (headers, bomb) }
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Reason and message of a job's last failure, as `/targets` shows them.
async fn failure(web: SocketAddr, job: &str) -> Option<(String, String)> {
    let client = HttpClient::new(&HttpClientConfig::default()).ok()?;
    let request = Request::get(format!("http://{web}/targets")).body(Bytes::new());
    let response = client.request(request.ok()?).await.ok()?;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let page: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let mut jobs = page["jobs"].as_array()?.iter();
    let found = jobs.find(|found| found["job"] == job)?;
    let failure = &found["targets"][0]["last_scrape"]["failure"];
    let text = |key: &str| failure[key].as_str().map(str::to_owned);
    Some((text("reason")?, text("message")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_costs_at_most_its_limits() {
    let address = target().await;
    let bad = ["stream", "line", "labels", "bomb", "garbage"];
    let jobs = bad.iter().chain(&["good"]).map(|name| {
        format!("- {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{address}']}}]}}\n")
    });
    // Long enough for a busy machine to reach the limits.
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let config = Config::default()
        .interval("5s")
        .jobs(&jobs.collect::<String>())
        .remote_write(RemoteWrite::to(&amp));
    let mesh = Topology::new(config)
        .exporters(1)
        .receivers(1)
        .flags(
            Role::Receiver,
            [
                format!("--scrape.memory-budget={BUDGET}"),
                format!("--scrape.max-body-bytes={MAX_BODY}"),
            ],
        )
        .start(&InProcess)
        .await
        .unwrap();
    let web = mesh.receivers[0].addresses.web;

    for job in bad {
        let expected = match job {
            "garbage" => ("parse", "line 3: "),
            _ => ("body_size_limit", "body size limit exceeded: 8388608 bytes"),
        };
        let reported = timeout(Duration::from_secs(120), async {
            loop {
                let failure = failure(web, job).await;
                let is_expected = |(reason, message): &(String, String)| {
                    reason == expected.0 && message.starts_with(expected.1)
                };
                if failure.as_ref().is_some_and(is_expected) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(
            reported.await.is_ok(),
            "{job}: {:?}",
            failure(web, job).await
        );
    }
    let value = |selector: String| {
        let stored = amp.backend().select(&selector).unwrap();
        stored.first().map(|series| series.samples[0].value.clone())
    };
    let float = |value: f64| Some(Value::Float(value.to_bits()));
    let all_stored = timeout(Duration::from_secs(120), async {
        let up = |job: &str| value(format!("up{{job=\"{job}\"}}"));
        while bad.iter().any(|job| up(job) != float(0.0)) || up("good") != float(1.0) {
            sleep(Duration::from_millis(100)).await;
        }
    });
    all_stored
        .await
        .expect("the backend stores `up` of every job");
    assert_eq!(value("a{job=\"good\"}".to_owned()), float(1.0));

    let metrics = Metrics::fetch(web).await.unwrap();
    let failures = |reason: &str| {
        metrics.sum(&format!(
            "promesh_receiver_scrape_failures_total{{reason=\"{reason}\"}}"
        ))
    };
    assert!(failures("body_size_limit") >= 4.0 && failures("parse") >= 1.0);
    let peak = metrics.sum("promesh_receiver_scrape_memory_peak_bytes");
    assert!(peak > 0.0 && peak <= BUDGET as f64, "{peak}");
    mesh.stop().await.unwrap();
}
