use std::{io::Write, path::Path};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use futures::StreamExt;
use mesh::config::Config;
use tokio::net::TcpListener;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn target() -> String {
    let gzipped = [("content-encoding", "gzip"), ("content-type", "text/plain")];
    let app = Router::new()
        .route(
            "/plain",
            get(|headers: HeaderMap| async move {
                assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "5");
                assert_eq!(headers["accept-encoding"], "gzip");
                assert!(
                    headers["accept"]
                        .to_str()
                        .unwrap()
                        .starts_with("application/openmetrics-text")
                );
                "up 1\n"
            }),
        )
        .route(
            "/gzip",
            get(move || async move { (gzipped, gzip(b"up 1\n")) }),
        )
        .route(
            "/bomb",
            get(move || async move { (gzipped, gzip(&vec![b'#'; 8 << 20])) }),
        )
        .route(
            "/garbage",
            get(move || async move { (gzipped, "not gzip") }),
        )
        .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
        .route(
            "/endless",
            get(|| async {
                let lines = futures::stream::repeat_with(|| {
                    Ok::<_, std::io::Error>("# more\n".repeat(1000))
                });
                Body::from_stream(lines).into_response()
            }),
        )
        .route(
            "/silent",
            get(|| async {
                Body::from_stream(
                    futures::stream::pending::<Result<Bytes, std::io::Error>>().fuse(),
                )
                .into_response()
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

fn client(keys: &str, budget: &Budget) -> ScrapeClient {
    let text = format!("scrape_configs:\n- job_name: a\n{keys}");
    let config = Config::parse(&text, Path::new("p.yml"), &|_| None).unwrap();
    ScrapeClient::new(&config.scrape_configs[0], budget.clone()).unwrap()
}

async fn failure(client: &ScrapeClient, url: String, seconds: f64) -> (Failure, String) {
    let error = client
        .scrape(&url, Duration::from_secs_f64(seconds))
        .await
        .unwrap_err();
    (error.failure, error.to_string())
}

#[tokio::test]
async fn bodies_are_read_plain_and_compressed() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let client = client("", &budget);
    for path in ["plain", "gzip"] {
        let scraped = client
            .scrape(&format!("{url}/{path}"), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(scraped.body, "up 1\n");
        assert!(scraped.content_type.unwrap().starts_with("text/plain"));
    }
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn what_goes_wrong_has_its_reason() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let limited = client("  body_size_limit: 100KB\n", &budget);
    let free = client("", &budget);
    let (reason, words) = failure(&free, format!("{url}/missing"), 5.0).await;
    assert_eq!(
        (reason, words.as_str()),
        (Failure::Status, "server returned HTTP status 404 Not Found")
    );
    for (client, path, expected) in [
        (&limited, "bomb", Failure::BodySizeLimit),
        (&limited, "endless", Failure::BodySizeLimit),
        (&free, "bomb", Failure::MemoryBudget),
        (&free, "endless", Failure::MemoryBudget),
        (&free, "garbage", Failure::Compression),
    ] {
        let (reason, _) = failure(client, format!("{url}/{path}"), 30.0).await;
        assert_eq!(reason, expected, "{path}");
    }
    assert_eq!(
        failure(&free, format!("{url}/silent"), 0.1).await.0,
        Failure::Timeout
    );
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(
        failure(&free, format!("http://{nobody}/"), 5.0).await.0,
        Failure::Connection
    );
    assert_eq!(
        failure(&free, "http://[/".to_owned(), 5.0).await.0,
        Failure::Url
    );
    assert_eq!(budget.used(), 0);
}
