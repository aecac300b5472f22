//! Another agent that runs instead of receivers and exporters, to compare the cost. It
//! scrapes the same targets and writes to the same stand-in.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context;
use tokio::process::{Child, Command};

use stand_ins::amp::Keys;

/// A running agent. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Peer(Child);

/// Settings of an agent.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// Prometheus configuration file, including `remote_write`.
    pub(super) config: PathBuf,
    /// Remote-write URL.
    pub(super) url: &'a str,
    /// Keys that sign the requests.
    pub(super) keys: &'a Keys,
    /// Folder for the agent's files.
    pub(super) folder: &'a Path,
}

/// Name in the report.
pub(super) const NAME: &str = "peer";

// === impl Peer ===

impl Peer {
    /// Starts an agent: vmagent if the program is named so, else Prometheus 3 as an agent.
    ///
    /// # Errors
    /// Returns an error if the process does not start.
    pub(super) fn start(program: &Path, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let flags = if name.starts_with("vmagent") {
            setup.vmagent()
        } else {
            setup.prometheus()
        };
        let log = std::fs::File::create(setup.folder.join("peer.log"))?;
        let child = Command::new(program)
            .args(flags)
            .env("AWS_ACCESS_KEY_ID", &setup.keys.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &setup.keys.secret_key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        let child = child.with_context(|| program.display().to_string())?;
        Ok(Self(child))
    }

    /// Process ID, while the process runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.0.id()
    }
}

// === impl Setup ===

impl Setup<'_> {
    fn prometheus(&self) -> Vec<String> {
        let folder = self.folder.join("agent");
        vec![
            "--agent".to_owned(),
            format!("--config.file={}", self.config.display()),
            format!("--storage.agent.path={}", folder.display()),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ]
    }

    /// Flags of vmagent. It reads only scrape jobs from the file, and has flags for the
    /// rest. AMP may refuse labels that are not sorted.
    fn vmagent(&self) -> Vec<String> {
        let folder = self.folder.join("vmagent");
        vec![
            format!("-promscrape.config={}", self.config.display()),
            "-promscrape.config.strictParse=false".to_owned(),
            "-httpListenAddr=127.0.0.1:0".to_owned(),
            format!("-remoteWrite.url={}", self.url),
            format!("-remoteWrite.tmpDataPath={}", folder.display()),
            "-remoteWrite.forcePromProto".to_owned(),
            "-sortLabels".to_owned(),
            "-remoteWrite.aws.useSigv4".to_owned(),
            format!("-remoteWrite.aws.region={}", self.keys.region),
            format!("-remoteWrite.aws.accessKey={}", self.keys.access_key),
            format!("-remoteWrite.aws.secretKey={}", self.keys.secret_key),
        ]
    }
}
