use std::net::SocketAddr;

use axum::routing::{get, post};
use mesh_base::shutdown::{self, Trigger};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

/// Admin port with a page that answers, one that never does, and an action.
async fn start(args: WebArgs) -> (SocketAddr, Trigger, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = ServeMetrics::register(&mut Registry::default());
    let router = Router::new()
        .route("/", get(async || "page"))
        .route("/hangs", get(std::future::pending::<()>))
        .route("/action", post(async |body: String| body));
    let (trigger, shutdown) = shutdown::channel();
    let server = args.server(listener, &metrics);
    (
        address,
        trigger,
        tokio::spawn(server.serve(router, shutdown)),
    )
}

/// Sends a request and reads until the server closes the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

fn action(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /action HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn closes_idle_connections_on_shutdown() {
    let (address, trigger, server) = start(WebArgs::default()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut response = [0; 12];
    client.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 200");
    trigger.fire();
    // The client keeps its connection open.
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stops_in_time_with_a_request_in_flight() {
    let (address, trigger, server) = start(WebArgs::default()).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET /hangs HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    let mut other = TcpStream::connect(address).await.unwrap();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    other.read_exact(&mut [0; 12]).await.unwrap();
    tokio::time::pause();
    trigger.fire();
    server.await.unwrap();
}

#[tokio::test]
async fn rejects_actions_of_other_sites() {
    let (address, _trigger, _server) = start(WebArgs::default()).await;
    for (headers, status) in [
        ("", "200"),
        ("Origin: http://10.0.0.1:8080\r\n", "200"),
        ("Origin: http://evil.example\r\n", "403"),
        ("Sec-Fetch-Site: cross-site\r\n", "403"),
    ] {
        let text = exchange(address, &action(headers, "")).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
}

#[tokio::test]
async fn limits_the_size_and_the_time_of_a_body() {
    let args = WebArgs {
        max_body_bytes: ByteSize(4),
        body_timeout: Duration::from_millis(50),
        ..WebArgs::default()
    };
    let (address, _trigger, _server) = start(args).await;
    let text = exchange(address, &action("", "four")).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let text = exchange(address, &action("", "five!")).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.ends_with("larger than 4 bytes\n"), "{text}");
    let chunked = "POST /action HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
    let text = exchange(address, &format!("{chunked}5\r\nfive!\r\n0\r\n\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    let text = exchange(address, &format!("{chunked}1\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
}

#[tokio::test]
async fn closes_a_connection_whose_head_does_not_arrive() {
    let args = WebArgs {
        header_timeout: Duration::from_millis(50),
        ..WebArgs::default()
    };
    let (address, _trigger, _server) = start(args).await;
    let text = exchange(address, "GET / HTTP/1.1\r\nHost: te").await;
    assert!(!text.contains("200"), "{text}");
}
