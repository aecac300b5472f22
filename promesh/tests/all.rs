//! `promesh all` between a target, a client that pushes, and a stand-in for AMP.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use stand_ins::amp::{Amp, AmpOptions, Keys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Child process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_receives_and_delivers_everything_before_it_stops() {
    let body = || async { ([("content-type", "text/plain; version=0.0.4")], "a 1\n") };
    let app = axum::Router::new().route("/metrics", axum::routing::get(body));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let keys = Keys::example();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['{target}']}}]\n\
         remote_write:\n- url: '{}'\n  sigv4: {{region: {}, access_key: {}, secret_key: {}}}\n",
        amp.remote_write_url(),
        keys.region,
        keys.access_key,
        keys.secret_key
    );
    std::fs::write(&config, text).unwrap();
    let listen = ["receiver", "exporter", "gateway", "otlp.http", "otlp.grpc"]
        .map(|name| format!("--{name}.listen-address=127.0.0.1:0"));
    let child = Command::new(env!("CARGO_BIN_EXE_promesh"))
        .arg("all")
        .arg(format!("--config.file={}", config.display()))
        .args(listen)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let url = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| Some(line.strip_prefix("OTLP over HTTP: ")?.to_owned()));
    let url = url.expect("a line with the address for OTLP over HTTP");

    // A JSON push.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let push = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"pushed\",\"gauge\":\
         {{\"dataPoints\":[{{\"timeUnixNano\":\"{}\",\"asInt\":\"5\"}}]}}}}]}}]}}]}}",
        now.unwrap().as_nanos()
    );
    let answer = post(&url, &push).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for metric in ["a", "up", "pushed"] {
        let stored = async {
            while amp.backend().select(metric).unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let stored = tokio::time::timeout(TIMEOUT, stored).await;
        assert!(stored.is_ok(), "{metric} is not stored");
    }

    let kill = format!("kill {}", child.0.id());
    let killed = Command::new("sh").args(["-c", &kill]).status();
    assert!(killed.unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.0.wait()).await;
    assert!(status.unwrap().unwrap().success());
}

/// Posts JSON to an URL and returns the response.
async fn post(url: &str, json: &str) -> String {
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
