//! A real VictoriaMetrics server, as a backend.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::bail;
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

/// A running VictoriaMetrics. Dropping it kills the process.
#[derive(Debug)]
pub struct VictoriaMetrics {
    address: SocketAddr,
    client: HttpClient,
    _child: Child,
    _data: TempDir,
}

/// Line of the export API.
#[derive(Deserialize)]
struct Exported {
    metric: BTreeMap<String, String>,
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

// === impl VictoriaMetrics ===

impl VictoriaMetrics {
    /// Starts an empty server on a free port and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error with the log if the server does not become ready.
    pub async fn start(program: &Path) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let log = data.path().join("log");
        let mut child = Command::new(program)
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!(
                "-storageDataPath={}",
                data.path().join("data").display()
            ))
            .arg("-search.latencyOffset=0s")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let client = HttpClient::new(&Default::default())?;
        let deadline = Instant::now() + START_TIMEOUT;
        while get(&client, address, "/health").await.is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{} is not ready:\n{log}", program.display());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            address,
            client,
            _child: child,
            _data: data,
        })
    }

    /// URL that accepts remote write.
    pub fn remote_write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Reads all series with all their samples.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        get(&self.client, self.address, "/internal/force_flush").await?;
        // The matcher `{__name__!=""}`, over all times.
        let all = "/api/v1/export?match%5B%5D=%7B__name__%21%3D%22%22%7D&start=0&end=4102444800";
        let lines = get(&self.client, self.address, all).await?;
        let lines = lines.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| Ok(serde_json::from_slice::<Exported>(line)?.into()))
            .collect()
    }
}

async fn get(client: &HttpClient, address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let url = format!("http://{address}{path}");
    let request = Request::get(&url).body(Bytes::new())?;
    let response = timeout(Duration::from_secs(30), client.request(request)).await??;
    anyhow::ensure!(
        response.status().is_success(),
        "{url}: {}",
        response.status()
    );
    Ok(response.into_body().collect().await?.to_bytes())
}

// === impl Exported ===

impl From<Exported> for Series {
    fn from(exported: Exported) -> Self {
        let samples = exported.timestamps.into_iter().zip(exported.values);
        let sample = |(timestamp, value): (i64, Option<f64>)| Sample {
            timestamp,
            value: Value::Float(value.unwrap_or(f64::NAN).to_bits()),
        };
        Self {
            labels: exported.metric.into_iter().collect::<Labels>(),
            samples: samples.map(sample).collect(),
        }
    }
}
