//! A Cortex server, as a process with its own data folder.

use std::{path::Path, time::Duration};

use anyhow::Context;
use http::{HeaderMap, HeaderValue};
use mesh_net::http_client::HttpClient;
use tempfile::TempDir;
use tokio::{
    net::TcpSocket,
    time::{Instant, sleep},
};
use url::Url;

use crate::{process::Process, prometheus};
use stand_ins::{
    amp::{Series, TENANT, Upstream},
    ports::reserve_ports,
};

/// A running Cortex. Dropping it kills the process.
#[derive(Debug)]
pub struct Cortex {
    process: Process,
    client: HttpClient,
    folder: TempDir,
    /// Sockets that keep the ports reserved while the process is down.
    _reserved: Vec<TcpSocket>,
}

/// Tenant of all writes and reads.
const TENANT_ID: &str = "promesh";
/// Configuration file, in the source tree.
const CONFIG: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/cortex/cortex.yml"
);
/// Shell script that prints the address of Cortex, which does not do so itself, and runs it.
const ANNOUNCE: &str = r#"echo "{\"web\": \"127.0.0.1:$CORTEX_HTTP_PORT\"}" && exec "$0" "$@""#;
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

// === impl Cortex ===

impl Cortex {
    /// Starts an empty Cortex with these flags, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error with the end of the log if Cortex does not become ready.
    pub async fn start(program: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("overrides.yml"), "overrides: {}\n")?;
        let (reserved, addresses) = reserve_ports(3)?;
        let ports = addresses
            .iter()
            .map(|address| address.rsplit(':').next().unwrap_or_default());
        let names = ["CORTEX_HTTP_PORT", "CORTEX_GRPC_PORT", "CORTEX_GOSSIP_PORT"];
        let mut environment: Vec<_> = names.into_iter().zip(ports).collect();
        let data = folder.path().display().to_string();
        environment.push(("CORTEX_DATA", &data));
        let mut arguments = vec![
            "-c".to_owned(),
            ANNOUNCE.to_owned(),
            program.display().to_string(),
            "-config.expand-env".to_owned(),
            format!("-config.file={CONFIG}"),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let process = Process::start(
            Path::new("sh"),
            "cortex",
            &arguments,
            &environment,
            folder.path(),
        );
        let cortex = Self {
            process: process.await?,
            client: HttpClient::new(&Default::default())?,
            folder,
            _reserved: reserved,
        };
        cortex.wait_until_ready().await?;
        Ok(cortex)
    }

    /// Stops Cortex as an orchestrator does. Acknowledged samples stay on its disk.
    ///
    /// # Errors
    /// Returns an error if Cortex does not stop in time.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP_TIMEOUT).await
    }

    /// Kills Cortex (SIGKILL).
    ///
    /// # Errors
    /// Returns an error if Cortex has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Starts Cortex again on the same ports, and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if Cortex does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.restart().await?;
        self.wait_until_ready().await
    }

    /// Freezes Cortex (SIGSTOP), or continues it (SIGCONT).
    ///
    /// # Errors
    /// Returns an error if Cortex has ended.
    pub async fn freeze(&self, freeze: bool) -> anyhow::Result<()> {
        if freeze {
            self.process.freeze().await
        } else {
            self.process.thaw().await
        }
    }

    /// Cortex as the real backend behind the stand-in.
    ///
    /// # Errors
    /// Returns an error if no HTTP client can be built.
    pub fn upstream(&self) -> anyhow::Result<Upstream> {
        let url: Url = format!("{}/api/v1/push", self.url()).parse()?;
        Upstream::new(url, TENANT_ID)
    }

    /// Reads all series with all their samples.
    ///
    /// # Errors
    /// Returns an error if Cortex does not answer.
    pub async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        let url = format!("{}/prometheus/api/v1/read", self.url());
        let tenant = (TENANT.parse()?, HeaderValue::from_static(TENANT_ID));
        let headers = HeaderMap::from_iter([tenant]);
        prometheus::read_all(&self.client, &url, &headers).await
    }

    /// Sets limits of the tenant: a YAML mapping, as in `limits`. Cortex reads them within
    /// two seconds.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn limit(&self, limits: &str) -> anyhow::Result<()> {
        let overrides = format!("overrides:\n  {TENANT_ID}: {limits}\n");
        Ok(std::fs::write(
            self.folder.path().join("overrides.yml"),
            overrides,
        )?)
    }

    /// Sum of a metric over all series of the tenant.
    ///
    /// # Errors
    /// Returns an error if Cortex does not answer.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let of_tenant = format!("user=\"{TENANT_ID}\"");
        self.metric_where(name, &of_tenant).await
    }

    /// Sum of a metric over the series that have a label, such as `reason="rate_limited"`.
    ///
    /// # Errors
    /// Returns an error if Cortex does not answer.
    pub async fn metric_where(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        Ok(self.process.metrics().await?.sum_where(name, label))
    }

    fn url(&self) -> String {
        format!("http://{}", self.process.addresses.web)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let url = format!("{}/ready", self.url());
        loop {
            let request = http::Request::get(&url).body(bytes::Bytes::new())?;
            let response = self.client.request(request).await;
            if response.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.process.log().context("reading the log of Cortex")?;
                let end = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
                anyhow::bail!("Cortex is not ready after {START_TIMEOUT:?}:\n{end}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
