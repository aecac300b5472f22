use std::{
    io::Write,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    body::Body as AxumBody,
    extract::Query,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use mesh_model::config::http::HttpClientConfig;
use tokio::net::TcpListener;

use super::*;
use crate::scrape::failure::FailureReason;

const LONG: Duration = Duration::from_secs(30);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Starts a target that serves valid and invalid responses, and returns its URL.
async fn target() -> String {
    let gzipped = [("content-encoding", "gzip"), ("content-type", "text/plain")];
    let stream = |chunk: Arc<[u8]>| {
        let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.to_vec()));
        AxumBody::from_stream(chunks)
    };
    let bomb: Arc<[u8]> = gzip(&vec![b'#'; 8 << 20]).into();
    let two = [gzip(b"up 1\n"), gzip(b"down 1\n")].concat();
    let headers = |headers: HeaderMap, Query(query): Query<Vec<(String, String)>>| async move {
        let names = ["accept", "accept-encoding", TIMEOUT_SECONDS, "user-agent"];
        let values = names.map(|name| headers[name].to_str().unwrap().to_owned());
        format!("{} {query:?}", values.join(" "))
    };
    let app = Router::new()
        .route("/headers", get(headers))
        .route("/plain", get(|| async { "up 1\n" }))
        .route("/gzip", get(move || async move { (gzipped, two) }))
        .route(
            "/bomb",
            get(move || async move { (gzipped, bomb.to_vec()) }),
        )
        .route(
            "/garbage",
            get(move || async move { (gzipped, "not gzip") }),
        )
        .route(
            "/cut",
            get(move || async move { (gzipped, gzip(b"up 1\n")[..12].to_vec()) }),
        )
        .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
        .route(
            "/endless",
            get(move || async move { stream(Arc::from(b"# more\n".repeat(512))) }),
        )
        .route(
            "/zstd",
            get(|| async { zstd_encoded(ZSTD_FRAMES.concat()) }),
        )
        .route(
            "/cut-zstd",
            get(|| async { zstd_encoded(ZSTD_FRAMES[0][..12].to_vec()) }),
        )
        .route(
            "/silent",
            get(|| async {
                let silence = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
                AxumBody::from_stream(silence).into_response()
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

/// `up 1` and `down 1`, a zstd frame each.
static ZSTD_FRAMES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    ["up 1\n", "down 1\n"].map(|line| zstd::encode_all(line.as_bytes(), 0).unwrap())
});

fn zstd_encoded(body: Vec<u8>) -> axum::response::Response {
    ([("content-encoding", "zstd")], body).into_response()
}

fn requests(limit: u64) -> HttpFetcher {
    HttpFetcher {
        client: HttpClient::new(&HttpClientConfig::default()).unwrap(),
        sockets: UnixSocketClients::default(),
        accept: "text/plain;q=0.5".to_owned(),
        compression: true,
        zstd: false,
        limit: BodyLimit {
            bytes: limit,
            setting: "body_size_limit",
        },
    }
}

fn address_of(url: &str) -> TargetAddress<'_> {
    let unix_socket = None;
    TargetAddress { url, unix_socket }
}

#[tokio::test]
async fn sends_the_headers_that_prometheus_sends() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let url = format!("{url}/headers?a=1&a=2");
    let fetcher = requests(1 << 20);
    let fetched = fetcher
        .fetch(address_of(&url), Duration::from_millis(1500), 0, &budget)
        .await
        .unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected =
        format!("text/plain;q=0.5 gzip 1.5 promesh/{version} [(\"a\", \"1\"), (\"a\", \"2\")]");
    assert_eq!(String::from_utf8(fetched.body.clone()).unwrap(), expected);
    assert!(
        fetched
            .content_type
            .as_deref()
            .unwrap()
            .starts_with("text/plain")
    );
    let plain = HttpFetcher {
        compression: false,
        ..fetcher
    };
    let fetched = plain
        .fetch(address_of(&url), LONG, 0, &budget)
        .await
        .unwrap();
    assert!(
        String::from_utf8(fetched.body.clone())
            .unwrap()
            .contains(" identity 30 ")
    );
}

#[tokio::test]
async fn reads_plain_and_gzip_bodies_and_releases_their_memory() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let fetcher = requests(1 << 20);
    for (path, body) in [("plain", "up 1\n"), ("gzip", "up 1\ndown 1\n")] {
        let url = format!("{url}/{path}");
        let mut fetched = fetcher
            .fetch(address_of(&url), LONG, 100, &budget)
            .await
            .unwrap();
        assert_eq!(fetched.body, body.as_bytes());
        fetched.reserve(1000).unwrap();
        assert!(budget.reserved() >= 1000 * body.len());
    }
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn requests_and_reads_zstd_bodies_only_if_configured() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let gzip = requests(1 << 20);
    let zstd = HttpFetcher {
        zstd: true,
        ..gzip.clone()
    };
    let fetch = async |fetcher: &HttpFetcher, path: &str| {
        let url = format!("{url}/{path}");
        let fetched = fetcher.fetch(address_of(&url), LONG, 0, &budget).await;
        fetched.map(|fetched| String::from_utf8(fetched.body).unwrap())
    };
    assert_eq!(fetch(&zstd, "zstd").await.unwrap(), "up 1\ndown 1\n");
    assert_eq!(fetch(&zstd, "gzip").await.unwrap(), "up 1\ndown 1\n");
    let headers = fetch(&zstd, "headers").await.unwrap();
    assert!(headers.contains(" zstd,gzip;q=0.5 "), "{headers}");
    let plain = HttpFetcher {
        compression: false,
        ..zstd.clone()
    };
    let headers = fetch(&plain, "headers").await.unwrap();
    assert!(headers.contains(" identity "), "{headers}");
    let small = HttpFetcher {
        limit: BodyLimit {
            bytes: 4,
            ..zstd.limit
        },
        ..zstd.clone()
    };
    for (fetcher, path, reason, words) in [
        (&gzip, "zstd", FailureReason::Compression, "--scrape.zstd"),
        (
            &zstd,
            "cut-zstd",
            FailureReason::Compression,
            "incomplete frame",
        ),
        (
            &small,
            "zstd",
            FailureReason::BodySizeLimit,
            "4 bytes or more",
        ),
    ] {
        let error = fetch(fetcher, path).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{path}: {error}");
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn failed_fetches_report_their_reason() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let (limited, free) = (requests(100 << 10), requests(u64::MAX));
    for (fetcher, path, reason, words) in [
        (
            &free,
            "missing",
            FailureReason::HttpStatus,
            "server returned HTTP status 404 Not Found",
        ),
        (
            &limited,
            "bomb",
            FailureReason::BodySizeLimit,
            "body size limit exceeded: 102400 bytes",
        ),
        (
            &limited,
            "endless",
            FailureReason::BodySizeLimit,
            "body size limit exceeded",
        ),
        (
            &free,
            "bomb",
            FailureReason::MemoryBudget,
            "memory budget of all scrapes exceeded",
        ),
        (
            &free,
            "endless",
            FailureReason::MemoryBudget,
            "memory budget of all scrapes exceeded",
        ),
        (
            &free,
            "garbage",
            FailureReason::Compression,
            "decompressing the body: ",
        ),
        (
            &free,
            "cut",
            FailureReason::Compression,
            "decompressing the body: ",
        ),
    ] {
        let error = fetcher
            .fetch(address_of(&format!("{url}/{path}")), LONG, 0, &budget)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{path}: {error}");
        assert!(error.to_string().starts_with(words), "{path}: {error}");
    }
    assert_eq!(budget.reserved(), 0);
}

#[tokio::test]
async fn missing_responses_report_their_reason() {
    let (url, budget) = (target().await, Budget::new(1 << 20));
    let fetcher = requests(u64::MAX);
    let silent = format!("{url}/silent");
    let error = fetcher
        .fetch(address_of(&silent), Duration::from_millis(100), 0, &budget)
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.to_string().as_str()),
        (
            FailureReason::Timeout,
            "no complete response within the scrape timeout of 100ms"
        )
    );
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = fetcher
        .fetch(address_of(&format!("http://{nobody}/")), LONG, 0, &budget)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), FailureReason::Connection, "{error}");
    let error = fetcher
        .fetch(address_of("http://[/"), LONG, 0, &budget)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), FailureReason::Url, "{error}");
}

#[tokio::test]
async fn fetches_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let host = |headers: HeaderMap| async move { headers["host"].to_str().unwrap().to_owned() };
    let app = Router::new().route("/metrics", get(host));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let (fetcher, budget) = (requests(1 << 20), Budget::new(1 << 20));
    // This name does not resolve.
    let mut address = TargetAddress {
        url: "http://app.invalid:8080/metrics",
        unix_socket: Some(&path),
    };
    for _ in 0..2 {
        let fetched = fetcher.fetch(address, LONG, 0, &budget).await.unwrap();
        assert_eq!(fetched.body, b"app.invalid:8080");
    }
    let nowhere = folder.path().join("none");
    address.unix_socket = Some(&nowhere);
    let error = fetcher.fetch(address, LONG, 0, &budget).await.unwrap_err();
    assert_eq!(error.reason(), FailureReason::Connection, "{error}");
}
