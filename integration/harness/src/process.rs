//! Services as processes, which tests can stop, freeze and kill.
//!
//! A process runs this very program with a hidden subcommand, so that `cargo run` builds
//! nothing else. It prints its addresses as one line of JSON and logs to a file.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    launcher::{Launcher, Service},
    metrics::Metrics,
    spec::{Addresses, ServiceSpec},
};

/// Maximum time from the start of a process until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts each service as a process.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Program whose hidden subcommands run the services.
    pub program: PathBuf,
}

/// A service that runs as a process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    /// Name of the service, in output and in messages.
    pub name: String,
    /// Addresses that the service listens on.
    pub addresses: Addresses,
    command: CommandLine,
    child: Child,
}

/// Command line of a process, from which it can be started again.
#[derive(Clone, Debug)]
struct CommandLine {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// File that standard error is appended to.
    log: PathBuf,
}

/// Prints the addresses of this process. [`Process::start`] waits for that line.
pub fn announce(addresses: impl Into<Addresses>) {
    println!("{}", serde_json::json!(addresses.into()));
}

/// Memory of a process in bytes, from a field of `/proc/PID/status` such as `VmRSS`.
/// Returns `None` if the system does not report it.
pub fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes = line.strip_prefix(':')?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? << 10)
}

// === impl Processes ===

impl Processes {
    /// Returns a launcher that runs `program`.
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }
}

impl Launcher for Processes {
    type Service = Process;

    const HAS_ENVIRONMENT: bool = true;

    async fn launch(&self, spec: &ServiceSpec, folder: &Path) -> anyhow::Result<Process> {
        let program = self.program.display().to_string();
        let mut words = spec.wrapper.iter().cloned().chain([program]);
        // The iterator has at least the program.
        let first = words.next().unwrap_or_default();
        let mut arguments: Vec<_> = words.collect();
        arguments.push(spec.role.subcommand().to_owned());
        arguments.extend(spec.arguments());
        let environment = spec.environment.iter();
        let environment: Vec<_> = environment
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Process::start(
            Path::new(&first),
            &spec.name,
            &arguments,
            &environment,
            folder,
        )
        .await
    }
}

// === impl Process ===

impl Process {
    /// Starts `program` with `arguments` and waits until it has printed its addresses. It
    /// logs to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// Returns an error with the log if the process does not start in time.
    pub async fn start(
        program: &Path,
        name: &str,
        arguments: &[String],
        environment: &[(&str, &str)],
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let command = CommandLine {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment: environment.iter().map(owned).collect(),
            log: logs.join(format!("{name}.log")),
        };
        let (child, addresses) = command.spawn(name).await?;
        Ok(Self {
            name: name.to_owned(),
            addresses,
            command,
            child,
        })
    }

    /// Starts the process again after it has ended, with the same command line.
    ///
    /// # Errors
    /// Returns an error with the log if the process does not start in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        (self.child, self.addresses) = self.command.spawn(&self.name).await?;
        Ok(())
    }

    /// Reads the log of the service, over all its restarts.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.command.log)?)
    }

    /// Process ID, or `None` if the process has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Peak resident memory in bytes, if the process runs and the system reports it.
    pub fn peak_memory(&self) -> Option<u64> {
        memory(self.pid()?, "VmHWM")
    }

    /// Kills the process (SIGKILL).
    ///
    /// # Errors
    /// Returns an error if the process has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Stops the process (SIGTERM) and waits until it has ended. Does nothing if it has ended
    /// already.
    ///
    /// # Errors
    /// Returns an error if the process fails, or does not end within `limit`.
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

    /// Freezes the process (SIGSTOP): it neither answers nor closes a connection.
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Continues a frozen process (SIGCONT).
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    /// Lets it read its configuration file again (SIGHUP).
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.signal("HUP").await
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} has ended", self.name))?;
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .await?;
        anyhow::ensure!(status.success(), "{}: kill -{name} {pid} failed", self.name);
        Ok(())
    }

    /// Fetches the metrics of the service.
    ///
    /// # Errors
    /// Returns an error if the service does not answer.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::fetch(self.addresses.web).await
    }
}

impl Service for Process {
    async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        Process::stop(self, limit).await
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }
}

// === impl CommandLine ===

impl CommandLine {
    /// Starts the process and waits until it has printed its addresses.
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
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = timeout(START_TIMEOUT, lines.next_line())
            .await
            .with_context(|| format!("{name} did not start within {START_TIMEOUT:?}:\n{}", log()))?
            .with_context(|| format!("standard output of {name}"))?
            .with_context(|| format!("{name} ended at its start:\n{}", log()))?;
        let addresses = serde_json::from_str(&line).with_context(|| format!("{name}: {line}"))?;
        Ok((child, addresses))
    }
}
