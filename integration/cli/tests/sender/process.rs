//! The `sender` command, and backends that do not speak HTTP.

use std::{process::Stdio, time::Duration};

use harness::sender_peers::{Recorder, Reply, Target};
use judge::sender::{Sender, SenderArgs};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

/// Groups of the suite that this module covers.
pub(crate) const GROUPS: &[&str] = &["TestErrorHandling", "TestNetworkErrors"];

const TIMEOUT: Duration = Duration::from_secs(90);

fn command(target: &str, url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["sender", "--scrape-target", target])
        .args(["--remote-write-url", url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Sends SIGINT to a sender, which must exit with success.
async fn interrupt(mut sender: Child) {
    assert!(
        sender.try_wait().unwrap().is_none(),
        "the sender has exited before SIGINT"
    );
    let id = sender.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.await.unwrap().success());
    let status = timeout(TIMEOUT, sender.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_sends_until_sigint() {
    let target = Target::start(&["test_metric 42\n"]).await.unwrap();
    let recorder = Recorder::start(|_, _| Reply::default()).await.unwrap();
    let sender = command(&target.address.to_string(), &recorder.url());
    let seen = recorder.wait("two requests", |seen| seen.len() >= 2);
    let seen = seen.await.unwrap();
    // Version 1.0 is the default.
    assert_eq!(
        seen[0].header("content-type"),
        Some("application/x-protobuf")
    );
    let series = seen[0].series().unwrap();
    let metric = series.iter().find(|series| series.name() == "test_metric");
    assert_eq!(metric.unwrap().label("job"), "test");
    interrupt(sender).await;
}

/// A sender whose backend is unreachable continues to scrape.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_runs_without_a_reachable_backend() {
    let urls = [
        "http://nonexistent.invalid.domain:9999/api/v1/write",
        "http://127.0.0.1:1/api/v1/write",
        "invalid://localhost:9999",
        "not a url",
    ];
    let senders = urls.map(|url| async move {
        let (target, mut scraped) = counting_target().await;
        let sender = command(&target, url);
        if url.starts_with("http") {
            for _ in 0..3 {
                timeout(TIMEOUT, scraped.recv()).await.unwrap().unwrap();
            }
        } else {
            // The only sign of life is that the process does not exit.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        interrupt(sender).await;
    });
    futures::future::join_all(senders).await;
}

/// Starts a target that sends a message for each scrape.
async fn counting_target() -> (String, mpsc::UnboundedReceiver<()>) {
    let (scraped, receiver) = mpsc::unbounded_channel();
    let answer = move || {
        let _ = scraped.send(());
        async { "test_metric 42\n" }
    };
    let app = axum::Router::new().route("/metrics", axum::routing::get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, receiver)
}

/// Behavior of a backend that does not speak HTTP.
#[derive(Clone, Copy, Debug)]
enum Misbehavior {
    /// Writes these bytes and closes the connection.
    Closes(&'static str),
    /// Writes these bytes and leaves the connection open.
    Stalls(&'static str),
}

const MISBEHAVIORS: [(&str, Misbehavior); 6] = [
    ("handle_connection_refused", Misbehavior::Closes("")),
    (
        "handle_empty_response",
        Misbehavior::Closes("HTTP/1.1 200 OK\r\n"),
    ),
    (
        "handle_invalid_status_code",
        Misbehavior::Closes("HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n"),
    ),
    (
        "handle_malformed_response",
        Misbehavior::Closes("this is no HTTP\r\n\r\n"),
    ),
    (
        "handle_partial_write",
        Misbehavior::Closes("HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\npart"),
    ),
    ("handle_timeout", Misbehavior::Stalls("")),
];

/// The backend misbehaves once. The request it received then must still arrive, before the
/// next scrape. `handle_large_error_response` and `sender_continues_after_errors` are also
/// covered in `answers`.
#[tokio::test(flavor = "multi_thread")]
async fn loses_nothing_if_the_backend_misbehaves() {
    let all = MISBEHAVIORS.map(|(name, misbehavior)| async move {
        let target = Target::start(&["test_metric 42\n"]).await.unwrap();
        let recorder = Recorder::start(|_, _| Reply::default()).await.unwrap();
        let (proxy, mut requests) = misbehave_once(recorder.address(), misbehavior).await;
        let url = format!("http://{proxy}/api/v1/write");
        let args = SenderArgs::new(
            &[target.address.to_string()],
            &url,
            "prometheus.WriteRequest",
        );
        let sender = Sender::start(&args).await.unwrap();
        let first = timeout(TIMEOUT, requests.recv()).await.unwrap().unwrap();
        let seen = recorder.wait("two requests", |seen| seen.len() >= 2);
        let seen = seen.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        // The retry is identical to the first request.
        assert!(first.ends_with(&seen[0].body), "{name}");
        sender.stop().await.unwrap();
    });
    futures::future::join_all(all).await;
}

/// Starts a proxy in front of a backend. It misbehaves on the first request, sends that request
/// to the channel, and forwards all others.
async fn misbehave_once(
    backend: std::net::SocketAddr,
    misbehavior: Misbehavior,
) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let request = read_request(&mut connection).await;
        let (bytes, stalls) = match misbehavior {
            Misbehavior::Closes(bytes) => (bytes, false),
            Misbehavior::Stalls(bytes) => (bytes, true),
        };
        connection.write_all(bytes.as_bytes()).await.unwrap();
        let _open = stalls.then_some(connection);
        sender.send(request).unwrap();
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(backend).await.unwrap();
                // Either side may close the connection.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (address, requests)
}

/// Reads one request, head and body.
async fn read_request(from: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = from.read(&mut buffer).await.unwrap();
        assert!(n > 0, "connection closed before the end of the request");
        read.extend_from_slice(&buffer[..n]);
        let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().trim().parse().unwrap();
        if read.len() >= head + 4 + length {
            return read;
        }
    }
}
