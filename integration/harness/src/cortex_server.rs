//! A Cortex in a process of its own, with a folder of its own.

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

use stand_ins::{amp::{Series, TENANT, Upstream}, ports::reserve_ports};
use crate::{child::Service, prometheus};

/// A running Cortex. It is killed when it is dropped.
#[derive(Debug)]
pub struct Cortex {
    service: Service,
    client: HttpClient,
    folder: TempDir,
    /// Keeps its ports while it is away.
    _reserved: Vec<TcpSocket>,
}

/// Who writes and reads: the tenant.
const WHO: &str = "promesh";
/// Beside the sources.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/cortex/cortex.yml");
/// A Cortex does not say where it listens; whoever starts it has to.
const ANNOUNCED: &str = r#"echo "{\"web\": \"127.0.0.1:$CORTEX_HTTP_PORT\"}" && exec "$0" "$@""#;
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

// === impl Cortex ===

impl Cortex {
    /// Starts one that holds nothing yet with flags of its own, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// Where it does not become so, with the end of its log.
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
            ANNOUNCED.to_owned(),
            program.display().to_string(),
            "-config.expand-env".to_owned(),
            format!("-config.file={CONFIG}"),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let service = Service::start(
            Path::new("sh"),
            "cortex",
            &arguments,
            &environment,
            folder.path(),
        );
        let cortex = Self {
            service: service.await?,
            client: HttpClient::new(&Default::default())?,
            folder,
            _reserved: reserved,
        };
        cortex.ready().await?;
        Ok(cortex)
    }

    /// Stops it as an orchestrator does. What it has acknowledged stays on its disk.
    ///
    /// # Errors
    /// Where it does not stop in time.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.service.stop(STOP_TIMEOUT).await
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.service.kill().await
    }

    /// Starts it once more where it was, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become so.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.service.restart().await?;
        self.ready().await
    }

    /// Lets it stand still (SIGSTOP) or go on (SIGCONT).
    ///
    /// # Errors
    /// Where it has ended.
    pub async fn freeze(&self, still: bool) -> anyhow::Result<()> {
        match still {
            true => self.service.freeze().await,
            false => self.service.thaw().await,
        }
    }

    /// Where samples are written.
    ///
    /// # Errors
    /// Where there can be no client.
    pub fn upstream(&self) -> anyhow::Result<Upstream> {
        let url: Url = format!("{}/api/v1/push", self.url()).parse()?;
        Upstream::new(url, WHO)
    }

    /// All series with all their samples.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        let url = format!("{}/prometheus/api/v1/read", self.url());
        let headers = HeaderMap::from_iter([(TENANT.parse()?, HeaderValue::from_static(WHO))]);
        prometheus::read_all(&self.client, &url, &headers).await
    }

    /// Sets limits: a YAML mapping, as in `limits`. They hold from a second or two
    /// later on.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn limit(&self, limits: &str) -> anyhow::Result<()> {
        let overrides = format!("overrides:\n  {WHO}: {limits}\n");
        Ok(std::fs::write(
            self.folder.path().join("overrides.yml"),
            overrides,
        )?)
    }

    /// The sum of a metric over all of the tenant's series.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn counted(&self, metric: &str) -> anyhow::Result<f64> {
        let of_tenant = format!("user=\"{WHO}\"");
        self.counted_where(metric, &of_tenant).await
    }

    /// The sum of a metric over the series that have this label, as exposed. There is
    /// one tenant.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn counted_where(&self, metric: &str, label: &str) -> anyhow::Result<f64> {
        Ok(self.service.metrics().await?.sum_where(metric, label))
    }

    fn url(&self) -> String {
        format!("http://{}", self.service.addresses.web)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let url = format!("{}/ready", self.url());
        loop {
            let request = http::Request::get(&url).body(bytes::Bytes::new())?;
            let answer = self.client.request(request).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.service.log().context("not ready, and no log")?;
                let end = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
                anyhow::bail!("Cortex is not ready after {START_TIMEOUT:?}:\n{end}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
