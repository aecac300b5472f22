//! Services as processes of their own, so that they can be killed.
//!
//! A child is this very program with a hidden subcommand: `cargo run` needs to
//! build nothing else. It writes where it listens as one line of JSON, and logs to
//! a file.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What a busy machine may need for it.
const METRICS_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a service listens.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: Option<String>,
    /// OTLP/HTTP.
    pub http: Option<String>,
    /// The admin port.
    pub web: String,
}

/// A service that runs as a process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Service {
    /// What it is called in the table and in messages.
    pub name: String,
    /// Where it listens.
    pub addresses: Addresses,
    launch: Launch,
    child: Child,
}

/// What a service is started with.
#[derive(Clone, Debug)]
struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

/// What the child writes once it listens.
pub fn announce(addresses: &Addresses) {
    println!("{}", serde_json::json!(addresses));
}

/// A size of a process' memory, in bytes, as the system calls it (`VmRSS`), where it
/// tells.
pub fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes = line.strip_prefix(':')?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? << 10)
}

// === impl Service ===

impl Service {
    /// Starts `program` with `arguments` and waits until it listens.
    ///
    /// # Errors
    /// Where it does not, with the end of its log.
    pub async fn start(
        program: &Path,
        name: &str,
        arguments: &[String],
        environment: &[(&str, &str)],
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let launch = Launch {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment: environment.iter().map(owned).collect(),
            log: logs.join(format!("{name}.log")),
        };
        let (child, addresses) = launch.spawn(name).await?;
        Ok(Self {
            name: name.to_owned(),
            addresses,
            launch,
            child,
        })
    }

    /// Starts it once more after it has ended, listening where it did before.
    ///
    /// # Errors
    /// Where it does not start, with the end of its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut launch = self.launch.clone();
        for argument in &mut launch.arguments {
            let Some(flag) = argument.strip_suffix("=127.0.0.1:0") else {
                continue;
            };
            let address = match flag {
                "--web.listen-address" => Some(&self.addresses.web),
                "--otlp.http.listen-address" => self.addresses.http.as_ref(),
                _ => self.addresses.grpc.as_ref(),
            };
            let address = address.with_context(|| format!("{}: {flag} is not known", self.name))?;
            *argument = format!("{flag}={address}");
        }
        (self.child, self.addresses) = launch.spawn(&self.name).await?;
        Ok(())
    }

    /// What it has logged so far, over all its lives.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.launch.log)?)
    }

    /// The process' number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most memory it has had resident, in bytes, where the system tells.
    pub fn peak_memory(&self) -> Option<u64> {
        memory(self.pid()?, "VmHWM")
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// Where it does not stop in time or with a failure.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        if self.pid().is_none() {
            return Ok(());
        }
        self.signal("TERM").await?;
        let status = timeout(limit, self.child.wait())
            .await
            .with_context(|| format!("{} did not stop within {limit:?}", self.name))??;
        anyhow::ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Lets it stand still (SIGSTOP): it neither answers nor closes a connection.
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} has ended", self.name))?;
        let told = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .await?;
        anyhow::ensure!(told.success(), "{}: kill -{name} {pid} failed", self.name);
        Ok(())
    }

    /// Its metrics, by name and labels as they are exposed.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::fetch(&self.addresses.web).await
    }
}

// === impl Launch ===

impl Launch {
    /// Starts the process and waits until it listens.
    async fn spawn(&self, name: &str) -> anyhow::Result<(Child, Addresses)> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(environment)
            .stdout(Stdio::piped())
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(START_TIMEOUT, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{name} did not start:\n{log}");
        };
        let addresses = serde_json::from_str(&line).with_context(|| format!("{name}: {line}"))?;
        Ok((child, addresses))
    }
}

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics(String);

// === impl Metrics ===

impl Metrics {
    /// The page of the admin port at this address.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn fetch(web: &str) -> anyhow::Result<Self> {
        let url = format!("http://{web}/metrics");
        let client = mesh_net::http_client::HttpClient::new(&Default::default())?;
        let request = http::Request::get(url).body(bytes::Bytes::new())?;
        let response = timeout(METRICS_TIMEOUT, client.request(request))
            .await
            .with_context(|| format!("{web} does not show its metrics"))??;
        let body = http_body_util::BodyExt::collect(response.into_body()).await?;
        Ok(Self(String::from_utf8(body.to_bytes().to_vec())?))
    }

    /// The sum over all series of a name, or of a name with labels as exposed.
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// The sum over those of a name that have this label, as exposed.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let of_name = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with([' ', '{']) && rest.contains(label))
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        of_name.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_name_are_summed() {
        let page =
            "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 9\nb 1\n";
        let metrics = Metrics(page.to_owned());
        assert_eq!(
            (metrics.sum("a_total"), metrics.sum("b"), metrics.sum("c")),
            (5.0, 1.0, 0.0)
        );
        assert_eq!(metrics.sum_where("a_total", "x=\"2\""), 3.0);
    }
}
