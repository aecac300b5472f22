//! Authentication, slow clients, limits per client, and browsers.

use std::time::Duration;

use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, metadata::MetadataValue};

use crate::harness::{Gateway, JSON, PROTOBUF, one};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn only_a_client_with_a_token_may_push() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "old\n").unwrap();
    let flag = format!("--auth.bearer-token-file={}", file.display());
    let gateway = Gateway::start(&[&flag]).await;
    let body = one("a").encode_to_vec();
    let push = async |token: &str| {
        let headers = [PROTOBUF, ("authorization", token)];
        gateway.post(&headers, body.clone()).await
    };
    assert_eq!(push("Bearer old").await.status, 200);
    for token in ["Bearer new", "Basic old", ""] {
        let answer = push(token).await;
        assert_eq!(answer.status, 401, "{token}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.header("content-type"), PROTOBUF.1);
    }
    let refused = gateway.post(&[JSON], "{}").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("content-type"), JSON.1);
    let name =
        "promesh_gateway_requests_refused_total{protocol=\"http\",reason=\"unauthenticated\"}";
    assert_eq!(gateway.metric(name).await, 4.0);

    let mut client = gateway.grpc().await;
    let status = client.export(one("a")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(one("a"));
    let token = MetadataValue::from_static("Bearer old");
    request.metadata_mut().insert("authorization", token);
    client.export(request).await.unwrap();

    std::fs::write(&file, "new\n").unwrap();
    let replaced = async {
        while push("Bearer new").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, replaced)
        .await
        .expect("the gateway accepts the new token");
    assert_eq!(push("Bearer old").await.status, 401);
}

#[tokio::test]
async fn rejects_an_unauthenticated_push_before_its_body() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "token\n").unwrap();
    let flag = format!("--auth.bearer-token-file={}", file.display());
    let gateway = Gateway::start(&[&flag]).await;
    let mut stream = TcpStream::connect(gateway.addresses.http).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Content-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    timeout(LONG, stream.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
}

#[tokio::test]
async fn disconnects_slow_and_vanishing_clients() {
    let gateway = Gateway::start(&["--otlp.body-timeout=1"]).await;
    let head = "POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    let mut slow = TcpStream::connect(gateway.addresses.http).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut gone = TcpStream::connect(gateway.addresses.http).await.unwrap();
    gone.write_all(head.as_bytes()).await.unwrap();
    let mut half = TcpStream::connect(gateway.addresses.http).await.unwrap();
    half.write_all(head.as_bytes()).await.unwrap();
    half.shutdown().await.unwrap();
    drop(gone);
    // Other clients are served meanwhile.
    let answer = gateway.post(&[PROTOBUF], one("a").encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let mut start = [0; 12];
    timeout(LONG, slow.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 408");
    let slow_body =
        "promesh_gateway_requests_refused_total{protocol=\"http\",reason=\"slow_body\"}";
    gateway.until(slow_body, 1.0).await;
    drop((slow, half));
    gateway
        .until("promesh_gateway_connections{listener=\"http\"}", 0.0)
        .await;
    assert_eq!(
        gateway.metric("promesh_gateway_push_memory_bytes").await,
        0.0
    );
}

#[tokio::test]
async fn limits_the_pushes_of_each_client() {
    let flags = [
        "--otlp.max-concurrent-pushes-per-client=1",
        "--identity.trust-forwarded-for",
    ];
    let gateway = Gateway::start(&flags).await;
    gateway.exporter.let_answer(false);
    let waiting = {
        let url = format!("http://{}/v1/metrics", gateway.addresses.http);
        let headers = [PROTOBUF, ("x-forwarded-for", "10.0.0.1")];
        let body = one("a").encode_to_vec().into();
        tokio::spawn(async move { crate::harness::request(&url, "POST", &headers, body).await })
    };
    gateway
        .until("promesh_gateway_outbox_samples_waiting", 1.0)
        .await;
    let push = async |client: &str| {
        let headers = [PROTOBUF, ("x-forwarded-for", client)];
        gateway.post(&headers, one("b").encode_to_vec()).await
    };
    let refused = push("10.0.0.1").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "1");
    gateway.exporter.let_answer(true);
    assert_eq!(push("10.0.0.2").await.status, 200);
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(push("10.0.0.1").await.status, 200);
}

#[tokio::test]
async fn a_browser_may_push_from_allowed_origins() {
    let gateway = Gateway::start(&["--cors.allowed-origins=https://shop.example"]).await;
    let preflight = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = gateway.request("OPTIONS", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example"
    );
    assert_eq!(answer.header("access-control-allow-methods"), "POST");
    let headers = answer.header("access-control-allow-headers");
    assert_eq!(headers, "content-type, content-encoding, authorization");
    let answer = gateway.post(&[JSON, preflight[0]], "{}").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "{}")
    );
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example"
    );
    let evil = gateway
        .request("OPTIONS", &[("origin", "https://evil.example")], "")
        .await;
    assert_eq!(evil.status, 403);
    assert_eq!(evil.header("access-control-allow-origin"), "");
}
