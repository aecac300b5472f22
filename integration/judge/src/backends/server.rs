//! The servers: how they are found, started and read, and which samples they refuse.

use std::path::{Path, PathBuf};

use harness::{
    cortex_server::Cortex,
    package::{self, SUITES, Unpacked},
    prometheus::{Program, Prometheus, Version},
    victoria_metrics::VictoriaMetrics,
};
use stand_ins::amp::{Amp, AmpOptions, Series};

use super::ledger::Kind;

/// A server that can be started.
#[derive(Clone, Debug)]
pub(super) enum Server {
    Prometheus(Program),
    VictoriaMetrics(Unpacked),
    Cortex(PathBuf),
}

/// A running server.
#[derive(Debug)]
pub(super) enum Running {
    Prometheus(Box<Prometheus>, Version),
    VictoriaMetrics(Box<VictoriaMetrics>),
    /// A Cortex, behind the stand-in, which sets the tenant.
    Cortex(Box<(Cortex, Amp)>),
}

// === impl Server ===

impl Server {
    /// Finds the servers of this machine: the installed and the newest Prometheus, the
    /// VictoriaMetrics of this system and of the newest suite, and the given Cortex.
    pub(super) async fn find(cortex: Option<&Path>) -> Vec<Self> {
        let mut servers = Vec::new();
        let installed = Program::installed().await;
        match Program::find().await {
            Ok(newest) => {
                let older = installed.filter(|program| program.version < newest.version);
                servers.extend(older.into_iter().chain([newest]).map(Self::Prometheus));
            }
            Err(error) => eprintln!("no Prometheus: {error:#}"),
        }
        let mut versions = Vec::new();
        for suite in [None, Some(SUITES[0])] {
            match package::unpacked("victoria-metrics", suite).await {
                Ok(program) if versions.contains(&program.version) => {}
                Ok(program) => {
                    versions.push(program.version.clone());
                    servers.push(Self::VictoriaMetrics(program));
                }
                Err(error) => eprintln!("no VictoriaMetrics of {suite:?}: {error:#}"),
            }
        }
        servers.extend(cortex.map(|path| Self::Cortex(path.to_owned())));
        servers
    }

    /// Name and version.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Prometheus(program) => format!("Prometheus {}", program.version),
            Self::VictoriaMetrics(program) => {
                // The version of the package continues with that of Debian.
                let version = program.version.split('+').next().unwrap_or_default();
                format!("VictoriaMetrics {version}")
            }
            Self::Cortex(_) => "Cortex".to_owned(),
        }
    }

    /// Starts an empty server.
    ///
    /// # Errors
    /// Returns an error if it does not start.
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Prometheus(program) => {
                let folder = tempfile::tempdir()?;
                let config = folder.path().join("prometheus.yml");
                std::fs::write(&config, "global: {scrape_interval: 1h}\n")?;
                let server = Prometheus::start_with(program, &config, &[]).await?;
                Running::Prometheus(Box::new(server), program.version)
            }
            Self::VictoriaMetrics(program) => {
                let server = VictoriaMetrics::start(&program.path).await?;
                Running::VictoriaMetrics(Box::new(server))
            }
            Self::Cortex(path) => {
                let cortex = Cortex::start(path, &[]).await?;
                let options = AmpOptions {
                    keys: None,
                    upstream: Some(cortex.upstream()?),
                    ..AmpOptions::default()
                };
                Running::Cortex(Box::new((cortex, Amp::start(options).await?)))
            }
        })
    }
}

// === impl Running ===

impl Running {
    /// Remote-write URL.
    pub(super) fn remote_write_url(&self) -> String {
        match self {
            Self::Prometheus(prometheus, _) => prometheus.remote_write_url(),
            Self::VictoriaMetrics(server) => server.remote_write_url(),
            Self::Cortex(both) => both.1.remote_write_url(),
        }
    }

    /// All series with all their samples.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub(super) async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        match self {
            Self::Prometheus(prometheus, _) => prometheus.read_all().await,
            Self::VictoriaMetrics(server) => server.read_all().await,
            Self::Cortex(both) => both.0.read_all().await,
        }
    }

    /// Returns true if the server refuses samples of this kind.
    pub(super) fn refuses(&self, kind: Kind) -> bool {
        match self {
            Self::Prometheus(_, version) => match kind {
                Kind::Good | Kind::Utf8 => false,
                // Version 2 has no limit.
                Kind::Future => version.major >= 3,
                Kind::OutOfOrder | Kind::Conflict | Kind::TooOld => true,
            },
            Self::Cortex(_) => kind != Kind::Good,
            // It takes samples in any order, and keeps several of one time.
            Self::VictoriaMetrics(_) => false,
        }
    }
}
