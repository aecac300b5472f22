use std::io::ErrorKind;

use http::Response;
use http_body_util::Full;
use mesh_base::shutdown;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    super::{Protocol, Server, tests::limits},
    *,
};

/// Starts a server that reads no body and answers 413, or 200 to GET.
async fn refusing(discard: DiscardLimits) -> (TcpStream, Registry) {
    let limits = super::super::Limits {
        discard,
        ..limits()
    };
    let mut registry = Registry::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let server = Server {
        listener,
        protocol: Protocol::Any,
        metrics: ServeMetrics::register(&mut registry).for_listener("test", &limits),
        limits,
        tls: None,
    };
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(async move {
        let _trigger = trigger;
        let handler = |request: Request<RequestBody>| async move {
            let is_get = request.method() == http::Method::GET;
            let mut response = Response::new(Full::<Bytes>::from("verdict"));
            *response.status_mut() = if is_get { 200 } else { 413 }.try_into().unwrap();
            response
        };
        server.serve(handler, shutdown).await;
    });
    (client, registry)
}

/// Reads one response.
async fn response(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"verdict") {
        let read = client.read_buf(&mut text).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

static CHUNK: [u8; 64 << 10] = [b'x'; 64 << 10];

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_sees_the_refusal() {
    let (mut client, registry) = refusing(DiscardLimits::default()).await;
    let chunks = 512;
    for _ in 0..2 {
        let length = chunks * CHUNK.len();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..chunks {
            client.write_all(&CHUNK).await.unwrap();
        }
        let text = response(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    }
    // The connection is still usable.
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(get).await.unwrap();
    let text = response(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    let none = "connections_closed_total{listener=\"test\",reason=\"body_limit\"} 0";
    assert!(metrics.contains(none), "{metrics}");
}

#[tokio::test]
async fn closes_the_connection_beyond_the_limit_of_bytes_or_time() {
    let few_bytes = DiscardLimits {
        max_bytes: 1 << 20,
        ..DiscardLimits::default()
    };
    let short = DiscardLimits {
        timeout: Duration::from_millis(100),
        ..DiscardLimits::default()
    };
    for (limits, pause) in [(few_bytes, 0), (short, 10)] {
        let (mut client, registry) = refusing(limits).await;
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(head).await.unwrap();
        let error = loop {
            let chunk = [b"10000\r\n", &CHUNK[..], b"\r\n"].concat();
            if let Err(error) = client.write_all(&chunk).await {
                break error.kind();
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error), "{error}");
        let mut metrics = String::new();
        encode(&mut metrics, &registry).unwrap();
        let expected = "connections_closed_total{listener=\"test\",reason=\"body_limit\"} 1";
        assert!(metrics.contains(expected), "{metrics}");
    }
}

#[tokio::test]
async fn does_not_ask_for_a_body_that_was_refused() {
    let (mut client, _registry) = refusing(DiscardLimits::default()).await;
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.ends_with("verdict"), "{text}");
}
