//! The command itself, and backends that do not answer as HTTP servers do.

use std::{process::Stdio, time::Duration};

use integration::{
    sender::{Sender, SenderArgs},
    sender_bench::{Answer, Recorder, Target},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

/// The groups of the suite that are here.
pub(crate) const GROUPS: &[&str] = &["TestErrorHandling", "TestNetworkErrors"];

const PATIENCE: Duration = Duration::from_secs(90);

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

/// Interrupts a sender as a terminal does; it has to end well.
async fn interrupt(mut sender: Child) {
    assert!(sender.try_wait().unwrap().is_none(), "it ended by itself");
    let id = sender.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.await.unwrap().success());
    let status = timeout(PATIENCE, sender.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_sends_until_it_is_interrupted() {
    let target = Target::start(&["test_metric 42\n"]).await.unwrap();
    let recorder = Recorder::start(|_, _| Answer::default()).await.unwrap();
    let sender = command(&target.address.to_string(), &recorder.url());
    let seen = recorder.wait("two requests", |seen| seen.len() >= 2);
    let seen = seen.await.unwrap();
    // Version 1.0 where nothing else is asked for.
    assert_eq!(
        seen[0].header("content-type"),
        Some("application/x-protobuf")
    );
    let series = seen[0].series().unwrap();
    let metric = series.iter().find(|series| series.name() == "test_metric");
    assert_eq!(metric.unwrap().label("job"), "test");
    interrupt(sender).await;
}

/// A URL that leads nowhere ends no sender: it goes on scraping.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_stays_where_it_cannot_write() {
    let urls = [
        "http://nonexistent.invalid.domain:9999/api/v1/write",
        "http://127.0.0.1:1/api/v1/write",
        "invalid://localhost:9999",
        "not a url",
    ];
    let stays = urls.map(|url| async move {
        let (target, mut scraped) = counting_target().await;
        let sender = command(&target, url);
        if url.starts_with("http") {
            for _ in 0..3 {
                timeout(PATIENCE, scraped.recv()).await.unwrap().unwrap();
            }
        } else {
            // Nothing shows that it is there but that it does not end.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        interrupt(sender).await;
    });
    futures::future::join_all(stays).await;
}

/// A target that tells when it is scraped.
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

/// What a backend does instead of answering.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    /// It says something, and hangs up.
    Says(&'static str),
    /// It says something, and nothing more.
    Stalls(&'static str),
}

const MISDEEDS: [(&str, Misdeed); 6] = [
    ("handle_connection_refused", Misdeed::Says("")),
    (
        "handle_empty_response",
        Misdeed::Says("HTTP/1.1 200 OK\r\n"),
    ),
    (
        "handle_invalid_status_code",
        Misdeed::Says("HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n"),
    ),
    (
        "handle_malformed_response",
        Misdeed::Says("this is no HTTP\r\n\r\n"),
    ),
    (
        "handle_partial_write",
        Misdeed::Says("HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\npart"),
    ),
    ("handle_timeout", Misdeed::Stalls("")),
];

/// Of `handle_large_error_response` and `sender_continues_after_errors` the other
/// half is in `answers`: here each misdeed is done once, and what it was done to
/// arrives all the same, before the next scrape.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_no_http_server_loses_nothing() {
    let all = MISDEEDS.map(|(name, misdeed)| async move {
        let target = Target::start(&["test_metric 42\n"]).await.unwrap();
        let recorder = Recorder::start(|_, _| Answer::default()).await.unwrap();
        let (proxy, mut wronged) = wrong_once(recorder.address(), misdeed).await;
        let url = format!("http://{proxy}/api/v1/write");
        let args = SenderArgs::new(
            &[target.address.to_string()],
            &url,
            "prometheus.WriteRequest",
        );
        let sender = Sender::start(&args).await.unwrap();
        let first = timeout(PATIENCE, wronged.recv()).await.unwrap().unwrap();
        let seen = recorder.wait("two requests", |seen| seen.len() >= 2);
        let seen = seen.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        // Byte by byte the request that was wronged.
        assert!(first.ends_with(&seen[0].body), "{name}");
        sender.stop().await.unwrap();
    });
    futures::future::join_all(all).await;
}

/// A proxy before a backend that wrongs the first request, and tells it.
async fn wrong_once(
    backend: std::net::SocketAddr,
    misdeed: Misdeed,
) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut wronged, _) = listener.accept().await.unwrap();
        let request = read_request(&mut wronged).await;
        let (says, stalls) = match misdeed {
            Misdeed::Says(says) => (says, false),
            Misdeed::Stalls(says) => (says, true),
        };
        wronged.write_all(says.as_bytes()).await.unwrap();
        let _kept = stalls.then_some(wronged);
        tell.send(request).unwrap();
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(backend).await.unwrap();
                // Either side may hang up.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (address, told)
}

/// Reads one request, head and body.
async fn read_request(from: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = from.read(&mut buffer).await.unwrap();
        assert!(n > 0, "hung up");
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
