//! Another agent in the place of receivers and exporters, to see what it costs: it
//! scrapes the same targets and writes to the same stand-in.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context;
use tokio::process::{Child, Command};

use stand_ins::amp::Keys;

/// A running agent. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Peer(Child);

/// What an agent works with.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// A Prometheus configuration file, `remote_write` included.
    pub(super) config: PathBuf,
    /// Where remote write goes.
    pub(super) url: &'a str,
    /// Whose signature it has.
    pub(super) keys: &'a Keys,
    /// Where it may write.
    pub(super) folder: &'a Path,
}

/// What it is called in the table.
pub(super) const NAME: &str = "peer";

// === impl Peer ===

impl Peer {
    /// Starts a vmagent, where `program` is called so, or else a Prometheus 3 as an
    /// agent.
    ///
    /// # Errors
    /// Where it does not start.
    pub(super) fn start(program: &Path, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let flags = match name.starts_with("vmagent") {
            true => setup.vmagent(),
            false => setup.prometheus(),
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

    /// The process' number, while it runs.
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

    /// It has flags for what others have in their file, of which it knows the scrape
    /// jobs. A backend need not take labels that are not sorted.
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
