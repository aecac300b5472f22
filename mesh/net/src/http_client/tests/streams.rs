//! Tests that slow responses over HTTP/2 do not delay other requests.

use std::{convert::Infallible, time::Duration};

use futures::future::join_all;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::sync::Barrier;

use super::*;

/// Requests that a connection to the server allows.
const LIMIT: u32 = 2;
/// Slow requests that are in flight at once.
const SLOW: usize = 5;

/// Starts a server that responds to a request for `/slow` when there are [`SLOW`] of them.
/// Returns its URL and its certificate.
async fn slow_server() -> (String, String) {
    let (acceptor, certificate) = http2_acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let barrier = Arc::new(Barrier::new(SLOW));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, barrier) = (acceptor.clone(), barrier.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = service_fn(move |request: Request<Incoming>| {
                    let barrier = barrier.clone();
                    async move {
                        if request.uri().path() == "/slow" {
                            barrier.wait().await;
                        }
                        Ok::<_, Infallible>(Response::new(String::new()))
                    }
                });
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http2().max_concurrent_streams(LIMIT);
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (format!("https://localhost:{port}"), certificate)
}

#[tokio::test]
async fn opens_connections_beyond_the_limit_of_the_server() {
    let (url, certificate) = slow_server().await;
    let config = HttpClientConfig {
        tls: TlsConfig {
            ca: Some(PemSource::Inline(Secret::new(certificate))),
            ..TlsConfig::default()
        },
        ..HttpClientConfig::default()
    };
    let client = HttpClient::new(&config).unwrap();
    let get = async |path: &str| {
        let request = Request::get(format!("{url}{path}"));
        let response = client.request(request.body(Bytes::new()).unwrap()).await;
        response.unwrap().into_body().collect().await.unwrap();
    };
    // The limit is known after the first response.
    get("/").await;
    let slow = join_all((0..SLOW).map(|_| get("/slow")));
    let all = tokio::time::timeout(Duration::from_secs(60), slow).await;
    all.expect("no request waits for another one");
}
