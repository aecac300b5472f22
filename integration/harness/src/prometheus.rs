//! A real Prometheus server, as a scraper or as a backend.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use mesh_model::labels::Labels;
use mesh_net::http_client::HttpClient;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use stand_ins::amp::{Sample, Series, Value};

mod program;
mod remote_read;

pub use self::{
    program::{Program, Version},
    remote_read::read_all,
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 5;

/// A running Prometheus server that accepts remote write. Dropping it kills the process.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    client: HttpClient,
    _child: Child,
    _data: TempDir,
}

/// Response of the query API.
#[derive(Deserialize)]
struct QueryResponse {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    metric: std::collections::BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts a server that scrapes nothing.
    ///
    /// # Errors
    /// Returns an error if no server is installed, or it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n")?;
        Self::start_with(&Program::find().await?, &config, &[]).await
    }

    /// Starts a server with a configuration file and flags on a free port, and waits
    /// until it is ready.
    ///
    /// # Errors
    /// Returns an error with the log if the server does not become ready.
    pub async fn start_with(
        program: &Program,
        config: &Path,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let mut last = None;
        // Another process may take the free port before the server listens on it.
        for _ in 0..ATTEMPTS {
            match Self::start_once(program, config, flags).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt to start Prometheus")?)
    }

    async fn start_once(
        program: &Program,
        config: &Path,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let log = data.path().join("log");
        let mut child = Command::new(&program.path)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                data.path().join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .args(flags)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let client = HttpClient::new(&Default::default())?;
        let deadline = Instant::now() + START_TIMEOUT;
        let ready = format!("http://{address}/-/ready");
        while get(&client, &ready).await.is_err() {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{} ended with {status}:\n{log}", program.path.display());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "Prometheus is not ready after {START_TIMEOUT:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            address,
            client,
            _child: child,
            _data: data,
        })
    }

    /// URL of the server, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// URL that accepts remote write.
    pub fn remote_write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Samples of the last hour of all series that match a selector.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn select(&self, selector: &str) -> anyhow::Result<Vec<Series>> {
        let query: String =
            url::form_urlencoded::byte_serialize(format!("{selector}[1h]").as_bytes()).collect();
        let url = format!("http://{}/api/v1/query?query={query}", self.address);
        let response: QueryResponse = serde_json::from_slice(&get(&self.client, &url).await?)?;
        response.data.result.into_iter().map(series).collect()
    }
}

fn series(matrix: Matrix) -> anyhow::Result<Series> {
    let samples = matrix.values.into_iter().map(|(seconds, text)| {
        let value: f64 = text.parse().with_context(|| format!("value {text:?}"))?;
        Ok(Sample {
            timestamp: (seconds * 1000.0).round() as i64,
            value: Value::Float(value.to_bits()),
        })
    });
    Ok(Series {
        labels: matrix.metric.into_iter().collect::<Labels>(),
        samples: samples.collect::<anyhow::Result<_>>()?,
    })
}

async fn get(client: &HttpClient, url: &str) -> anyhow::Result<Bytes> {
    let request = Request::get(url).body(Bytes::new())?;
    let response = timeout(Duration::from_secs(10), client.request(request)).await??;
    anyhow::ensure!(
        response.status().is_success(),
        "{url}: {}",
        response.status()
    );
    Ok(response.into_body().collect().await?.to_bytes())
}
