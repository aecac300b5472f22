mod tls;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_base::shutdown::{self, Trigger};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::*;

/// A server that responds to each request when the test says so.
struct Running {
    address: SocketAddr,
    registry: Registry,
    /// Notified when a request arrives.
    requested: Arc<Notify>,
    /// Notified by the test to send a response.
    respond: Arc<Notify>,
    trigger: Option<Trigger>,
    task: tokio::task::JoinHandle<()>,
}

pub(super) fn limits() -> Limits {
    Limits {
        max_connections: 10,
        max_connections_per_client: 10,
        max_requests: 10,
        response_timeout: Duration::from_secs(6000),
        discard: DiscardLimits::default(),
        max_concurrent_streams: 10,
        max_connection_age: Duration::from_secs(6000),
        max_connection_age_grace: Duration::from_secs(6000),
        header_timeout: Duration::from_secs(6000),
        keepalive_interval: Duration::from_secs(6000),
        keepalive_timeout: Duration::from_secs(6000),
    }
}

impl Running {
    async fn start(protocol: Protocol, limits: Limits, tls: Option<ServerTls>) -> Self {
        let mut registry = Registry::default();
        let metrics = ServeMetrics::register(&mut registry).for_listener("test", &limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server {
            listener,
            protocol,
            limits,
            tls,
            metrics,
        };
        let respond = Arc::new(Notify::new());
        let responding = respond.clone();
        let requested = Arc::new(Notify::new());
        let arrived = requested.clone();
        let handler = move |request: Request<RequestBody>| {
            assert!(request.extensions().get::<Peer>().is_some());
            let responding = responding.clone();
            arrived.notify_one();
            async move {
                responding.notified().await;
                Response::new(Full::<Bytes>::from("answer"))
            }
        };
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(server.serve(handler, shutdown));
        Self {
            address,
            registry,
            requested,
            respond,
            trigger: Some(trigger),
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until the metrics contain this line.
    async fn until(&self, line: &str) {
        let shown = async {
            loop {
                let mut text = String::new();
                encode(&mut text, &self.registry).unwrap();
                if text.lines().any(|l| l == line) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), shown).await;
        waited.unwrap_or_else(|_| panic!("never: {line}"));
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn closes_an_aged_connection_after_its_last_response() {
    let limits = Limits {
        max_connection_age: Duration::from_secs(10),
        ..limits()
    };
    let server = Running::start(Protocol::Any, limits, None).await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    server.requested.notified().await;
    tokio::time::pause();
    let aged = "connections_closed_total{listener=\"test\",reason=\"aged\"} 1";
    server.until(aged).await;
    server.respond.notify_one();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("answer"), "{answer}");
    server.until("connections{listener=\"test\"} 0").await;
}

#[tokio::test]
async fn counts_an_aged_connection_that_breaks_once() {
    let limits = Limits {
        max_connection_age: Duration::from_millis(1),
        ..limits()
    };
    let server = Running::start(Protocol::Any, limits, None).await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    server.requested.notified().await;
    let aged = "connections_closed_total{listener=\"test\",reason=\"aged\"} 1";
    server.until(aged).await;
    // Without a response, the end of the connection is an error.
    drop(stream);
    server.until("connections{listener=\"test\"} 0").await;
    let mut text = String::new();
    encode(&mut text, &server.registry).unwrap();
    let broken = "connections_closed_total{listener=\"test\",reason=\"broken\"} 0";
    assert!(text.contains(broken), "{text}");
}

#[tokio::test]
async fn sends_goaway_on_an_aged_http2_connection() {
    let limits = Limits {
        max_connection_age: Duration::from_secs(10),
        ..limits()
    };
    let server = Running::start(Protocol::Http2, limits, None).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(driver);
    let request = Request::get("http://test/").body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.unwrap());
    server.requested.notified().await;
    tokio::time::pause();
    let aged = "connections_closed_total{listener=\"test\",reason=\"aged\"} 1";
    server.until(aged).await;
    server.respond.notify_one();
    // The request in flight completes before the connection ends without an error.
    assert_eq!(answer.await.unwrap().status(), 200);
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn closes_a_connection_without_a_request() {
    let limits = Limits {
        header_timeout: Duration::from_millis(50),
        ..limits()
    };
    for protocol in [Protocol::Any, Protocol::Http2] {
        for sent in [&b""[..], b"GET / HT", b"PRI * HTT"] {
            let server = Running::start(protocol, limits.clone(), None).await;
            let mut stream = server.connect().await;
            stream.write_all(sent).await.unwrap();
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            server.until("connections{listener=\"test\"} 0").await;
        }
    }
}

#[tokio::test]
async fn accepts_no_more_connections_than_the_limit() {
    let limits = Limits {
        max_connections: 1,
        ..limits()
    };
    let server = Running::start(Protocol::Any, limits, None).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    server.until("connections{listener=\"test\"} 1").await;
    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    server.respond.notify_one();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    server
        .until("connections_accepted_total{listener=\"test\"} 1")
        .await;
    drop(first);
    server.respond.notify_one();
    second.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn shutdown_completes_requests_in_flight() {
    let mut server = Running::start(Protocol::Any, limits(), None).await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    server.requested.notified().await;
    server.until("connections{listener=\"test\"} 2").await;
    server.trigger.take().unwrap().fire();
    let _ = idle.read_to_end(&mut Vec::new()).await;
    server.respond.notify_one();
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with("answer"), "{answer}");
    server.task.await.unwrap();
}

#[tokio::test]
async fn closes_a_connection_whose_client_reads_no_response() {
    let limits = Limits {
        response_timeout: Duration::from_secs(20),
        ..limits()
    };
    let server = Running::start(Protocol::Http2, limits, None).await;
    let io = TokioIo::new(server.connect().await);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // The server may send the headers of the response, but not its body.
    builder.initial_stream_window_size(0);
    let (mut client, connection) = builder.handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://test/").body(Empty::<Bytes>::new());
    let sent = client.send_request(request.unwrap());
    server.respond.notify_one();
    let response = sent.await.unwrap();
    tokio::time::pause();
    let closed = "connections_closed_total{listener=\"test\",reason=\"unread\"} 1";
    server.until(closed).await;
    drop(response);
    let _ = connection.await.unwrap();
}

#[tokio::test]
async fn a_read_response_closes_no_connection_and_frees_its_request() {
    let limits = Limits {
        max_requests: 1,
        ..limits()
    };
    let server = Running::start(Protocol::Any, limits, None).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.write_all(REQUEST).await.unwrap();
    server.requested.notified().await;
    // One request is in flight.
    second.write_all(REQUEST).await.unwrap();
    let mut refused = [0; 12];
    second.read_exact(&mut refused).await.unwrap();
    assert_eq!(&refused, b"HTTP/1.1 503");
    server
        .until("connections_requests_refused_total{listener=\"test\"} 1")
        .await;
    for _ in 0..2 {
        server.respond.notify_one();
        let mut answered = [0; 12];
        first.read_exact(&mut answered).await.unwrap();
        assert_eq!(&answered, b"HTTP/1.1 200");
        let mut rest = Vec::new();
        while !rest.ends_with(b"answer") {
            first.read_buf(&mut rest).await.unwrap();
        }
        first.write_all(REQUEST).await.unwrap();
    }
}

#[tokio::test]
async fn closes_connections_beyond_the_limit_of_a_client() {
    let limits = Limits {
        max_connections_per_client: 1,
        ..limits()
    };
    let server = Running::start(Protocol::Any, limits, None).await;
    let _first = server.connect().await;
    let mut second = server.connect().await;
    assert_eq!(rest(&mut second).await, "");
    server
        .until("connections_closed_total{listener=\"test\",reason=\"client_limit\"} 1")
        .await;
}

#[tokio::test]
async fn rejects_requests_of_http_1_1_without_exactly_one_host() {
    let server = Running::start(Protocol::Any, limits(), None).await;
    for (head, is_valid) in [
        ("HTTP/1.1\r\nHost: a:8080", true),
        ("HTTP/1.1\r\nHost:", true),
        ("HTTP/1.1\r\nHost: [::1]:8080", true),
        ("HTTP/1.0\r\nConnection: close", true),
        ("HTTP/1.1\r\nAccept: */*", false),
        ("HTTP/1.1\r\nHost: a\r\nHost: a", false),
        ("HTTP/1.0\r\nHost: a\r\nHost: b", false),
        ("HTTP/1.1\r\nHost: a, b", false),
    ] {
        let mut stream = server.connect().await;
        let request = format!("GET / {head}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        server.respond.notify_one();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        let status = std::str::from_utf8(&status[9..]).unwrap();
        assert_eq!(status, if is_valid { "200" } else { "400" }, "{head}");
        // Takes back the permission to respond of a refused request.
        if !is_valid {
            server.respond.notified().await;
            assert!(
                rest(&mut stream).await.contains("connection: close"),
                "{head}"
            );
        }
    }
}
