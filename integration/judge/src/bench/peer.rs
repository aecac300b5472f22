//! Other agents that run instead of promesh, to compare the cost. They scrape the same targets
//! and write to the same sink.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
};

use anyhow::Context;
use stand_ins::amp::Keys;
use tokio::process::{Child, Command};

/// Program of another agent, as `--peer` names it.
#[derive(Clone, Debug)]
pub(super) struct PeerProgram {
    pub(super) kind: PeerKind,
    path: PathBuf,
}

/// Kind of another agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// vmagent of VictoriaMetrics.
    Vmagent,
    /// Prometheus 3 as an agent.
    Prometheus,
    /// OpenTelemetry Collector with the components of its contrib distribution.
    Collector,
}

/// Value of `--peer` that names no agent.
#[derive(Debug, thiserror::Error)]
#[error("expected vmagent=PATH, prometheus=PATH or collector=PATH, found {0:?}")]
pub(super) struct PeerError(String);

/// A running agent. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Peer(Child);

/// Settings of an agent.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// Scrape interval, as Prometheus writes it.
    pub(super) interval: &'a str,
    /// Items of `scrape_configs`.
    pub(super) jobs: &'a str,
    /// Remote-write URL.
    pub(super) url: &'a str,
    /// Keys that sign the requests.
    pub(super) keys: &'a Keys,
    /// Core that the process is pinned to.
    pub(super) core: usize,
    /// Folder for the agent's files.
    pub(super) folder: &'a Path,
}

// === impl PeerProgram ===

impl FromStr for PeerProgram {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let error = || PeerError(text.to_owned());
        let (name, path) = text.split_once('=').ok_or_else(error)?;
        let all = [PeerKind::Vmagent, PeerKind::Prometheus, PeerKind::Collector];
        let kind = all.into_iter().find(|kind| kind.name() == name);
        Ok(Self {
            kind: kind.ok_or_else(error)?,
            path: path.into(),
        })
    }
}

// === impl PeerKind ===

impl PeerKind {
    /// Name in flags and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vmagent => "vmagent",
            Self::Prometheus => "prometheus",
            Self::Collector => "collector",
        }
    }
}

// === impl Peer ===

impl Peer {
    /// Starts an agent.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written or the process does not start.
    pub(super) fn start(program: &PeerProgram, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let config = setup.folder.join("peer.yml");
        let (text, flags) = match program.kind {
            PeerKind::Vmagent => (setup.scrape_configs(), setup.vmagent(&config)),
            PeerKind::Prometheus => (setup.prometheus_config(), setup.prometheus(&config)),
            PeerKind::Collector => (
                setup.collector_config(),
                vec![format!("--config={}", config.display())],
            ),
        };
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(setup.folder.join("peer.log"))?;
        let child = Command::new("taskset")
            .args(["--cpu-list", &setup.core.to_string()])
            .arg(&program.path)
            .args(flags)
            .env("AWS_ACCESS_KEY_ID", &setup.keys.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &setup.keys.secret_key)
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        Ok(Self(child.with_context(|| {
            format!("cannot start {}", program.path.display())
        })?))
    }

    /// Process ID, while the process runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.0.id()
    }

    /// Kills the process and waits for its end.
    ///
    /// # Errors
    /// Returns an error if the process cannot be killed.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }
}

// === impl Setup ===

impl Setup<'_> {
    fn scrape_configs(&self) -> String {
        format!(
            "global: {{scrape_interval: {0}, scrape_timeout: {0}}}\nscrape_configs:\n{1}",
            self.interval, self.jobs
        )
    }

    fn prometheus_config(&self) -> String {
        format!(
            "{}remote_write:\n- url: '{}'\n  sigv4: {{region: {}}}\n",
            self.scrape_configs(),
            self.url,
            self.keys.region
        )
    }

    fn prometheus(&self, config: &Path) -> Vec<String> {
        vec![
            "--agent".to_owned(),
            format!("--config.file={}", config.display()),
            format!(
                "--storage.agent.path={}",
                self.folder.join("agent").display()
            ),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ]
    }

    /// Flags of vmagent. It has flags for everything but scrape jobs. AMP may refuse labels
    /// that are not sorted.
    fn vmagent(&self, config: &Path) -> Vec<String> {
        vec![
            format!("-promscrape.config={}", config.display()),
            "-httpListenAddr=127.0.0.1:0".to_owned(),
            format!("-remoteWrite.url={}", self.url),
            format!(
                "-remoteWrite.tmpDataPath={}",
                self.folder.join("vmagent").display()
            ),
            "-remoteWrite.forcePromProto".to_owned(),
            "-sortLabels".to_owned(),
            "-remoteWrite.aws.useSigv4".to_owned(),
            format!("-remoteWrite.aws.region={}", self.keys.region),
            format!("-remoteWrite.aws.accessKey={}", self.keys.access_key),
            format!("-remoteWrite.aws.secretKey={}", self.keys.secret_key),
        ]
    }

    fn collector_config(&self) -> String {
        let indented: String = self
            .jobs
            .lines()
            .map(|line| format!("      {line}\n"))
            .collect();
        format!(
            "receivers:\n  prometheus:\n    config:\n      global: {{scrape_interval: {0}, scrape_timeout: {0}}}\n      \
             scrape_configs:\n{indented}\
             processors:\n  batch: {{}}\n\
             extensions:\n  sigv4auth: {{region: {1}, service: aps}}\n\
             exporters:\n  prometheusremotewrite:\n    endpoint: '{2}'\n    auth: {{authenticator: sigv4auth}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  extensions: [sigv4auth]\n  pipelines:\n    metrics:\n      \
             receivers: [prometheus]\n      processors: [batch]\n      exporters: [prometheusremotewrite]\n",
            self.interval, self.keys.region, self.url
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_known_name_and_a_path() {
        let peer: PeerProgram = "vmagent=/bin/x".parse().unwrap();
        assert_eq!((peer.kind, peer.path), (PeerKind::Vmagent, "/bin/x".into()));
        for wrong in ["vmagent", "telegraf=/bin/x", ""] {
            let error = wrong.parse::<PeerProgram>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("found {wrong:?}")), "{error}");
        }
    }
}
