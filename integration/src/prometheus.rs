//! A real Prometheus server as the backend.
//!
//! It is taken from PATH, or unpacked from Debian's package into a folder of the
//! build, which needs no root.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use mesh::{http_client::HttpClient, labels::Labels};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::amp::{Sample, Series, Value};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 5;

/// A running Prometheus server that takes remote write. It is killed when it is
/// dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    client: HttpClient,
    _child: Child,
    _folder: TempDir,
}

#[derive(Deserialize)]
struct Answer {
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

/// The program, from PATH or from Debian's package.
///
/// # Errors
/// Where there is neither, with what to do about it.
pub async fn find() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
    if let Some(installed) = installed.into_iter().find(|program| program.is_file()) {
        return Ok(installed);
    }
    unpack().await.context(
        "this needs a Prometheus server: install Debian's package `prometheus`, or let `apt-get download prometheus` work",
    )
}

/// Unpacks Debian's package below the build folder, once.
async fn unpack() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/prometheus");
    let program = folder.join("usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    // Others may do the same at the same time: unpack aside, then move.
    std::fs::create_dir_all(&folder)?;
    let aside = tempfile::tempdir_in(&folder)?;
    let run = async |program: &str, arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(aside.path())
            .stdout(Stdio::null());
        let status = command.status().await.with_context(|| program.to_owned())?;
        anyhow::ensure!(
            status.success(),
            "{program} {arguments:?} ended with {status}"
        );
        Ok(())
    };
    run("apt-get", &["download", "prometheus"]).await?;
    let package = std::fs::read_dir(aside.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .context("apt-get has downloaded nothing")?;
    run("dpkg", &["-x", &package.to_string_lossy(), "unpacked"]).await?;
    let unpacked = aside.path().join("unpacked/usr");
    if std::fs::rename(unpacked, folder.join("usr")).is_err() && !program.is_file() {
        bail!("the package could not be moved to {}", folder.display());
    }
    Ok(program)
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts a server on a free port and waits until it is ready.
    ///
    /// # Errors
    /// Where there is no server, or it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let program = find().await?;
        let mut last = None;
        // Somebody else may take the port between finding it and using it.
        for _ in 0..ATTEMPTS {
            match Self::start_once(&program).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    async fn start_once(program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let client = HttpClient::new(&Default::default())?;
        let deadline = Instant::now() + START_TIMEOUT;
        let ready = format!("http://{address}/-/ready");
        while get(&client, &ready).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}", program.display());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "not ready after {START_TIMEOUT:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            address,
            client,
            _child: child,
            _folder: folder,
        })
    }

    /// Where remote write is posted.
    pub fn remote_write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// All samples of the last hour of the series that a selector matches.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub async fn select(&self, selector: &str) -> anyhow::Result<Vec<Series>> {
        let query: String =
            url::form_urlencoded::byte_serialize(format!("{selector}[1h]").as_bytes()).collect();
        let url = format!("http://{}/api/v1/query?query={query}", self.address);
        let answer: Answer = serde_json::from_slice(&get(&self.client, &url).await?)?;
        answer.data.result.into_iter().map(series).collect()
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
