//! The measured processes: a receiver and an exporter, or another agent.

use std::{path::Path, time::Duration};

use anyhow::Context;
use harness::{
    process::{self, Process, Processes},
    spec::ServiceSpec,
    topology::{Config, Mesh, RemoteWrite, Topology},
};
use stand_ins::amp::Keys;
use tempfile::TempDir;

use super::peer::{Peer, PeerProgram, Setup};
use crate::cpu;

/// Program that a run measures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Candidate<'a> {
    /// Receiver and exporter of a build.
    Promesh(&'a Path),
    /// Another agent.
    Peer(&'a PeerProgram),
}

/// Running processes, all pinned to one core.
#[derive(Debug)]
pub(super) enum System {
    Promesh(Box<Mesh<Process>>),
    Peer {
        process: Peer,
        _folder: Box<TempDir>,
    },
}

/// CPU time and memory of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Resident memory in bytes.
    pub(super) resident: u64,
    /// Maximum of the resident memory so far in bytes.
    pub(super) peak: u64,
}

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub(super) interval: &'a str,
    /// Items of `scrape_configs`.
    pub(super) jobs: &'a str,
    /// Remote-write URL.
    pub(super) url: &'a str,
    pub(super) core: usize,
}

/// Pins services that are not started yet to a core.
pub(super) fn pin<'a>(services: impl Iterator<Item = &'a mut ServiceSpec>, core: usize) {
    for service in services {
        service.wrapper = ["taskset", "--cpu-list", &core.to_string()]
            .map(str::to_owned)
            .into();
    }
}

// === impl System ===

impl System {
    /// Starts the processes of a candidate.
    ///
    /// # Errors
    /// Returns an error if a process does not start.
    pub(super) async fn start(
        candidate: Candidate<'_>,
        settings: Settings<'_>,
    ) -> anyhow::Result<Self> {
        let keys = Keys::example();
        match candidate {
            Candidate::Promesh(program) => {
                let remote_write = RemoteWrite::new(settings.url).signed_with(keys);
                let config = Config::default()
                    .interval(settings.interval)
                    .jobs(settings.jobs)
                    .remote_write(remote_write);
                let mut plan = Topology::new(config)
                    .exporters(1)
                    .receivers(1)
                    .plan::<Processes>()?;
                pin(
                    plan.exporters.iter_mut().chain(&mut plan.receivers),
                    settings.core,
                );
                let mesh = plan.start(&Processes::new(program)).await?;
                Ok(Self::Promesh(Box::new(mesh)))
            }
            Candidate::Peer(program) => {
                let folder = tempfile::tempdir()?;
                let setup = Setup {
                    interval: settings.interval,
                    jobs: settings.jobs,
                    url: settings.url,
                    keys: &keys,
                    core: settings.core,
                    folder: folder.path(),
                };
                let process = Peer::start(program, &setup)?;
                Ok(Self::Peer {
                    process,
                    _folder: Box::new(folder),
                })
            }
        }
    }

    /// CPU time and memory of each process: the receiver's, then the exporter's.
    ///
    /// # Errors
    /// Returns an error if a process has ended.
    pub(super) fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        let pids: Vec<_> = match self {
            Self::Promesh(mesh) => mesh.all().map(Process::pid).collect(),
            Self::Peer { process, .. } => vec![process.pid()],
        };
        let usage = pids.into_iter().map(|pid| {
            let pid = pid.context("a measured process has ended")?;
            let memory = |field| process::memory(pid, field).unwrap_or(0);
            Ok(Usage {
                cpu: cpu::of_process(pid)?,
                resident: memory("VmRSS"),
                peak: memory("VmHWM"),
            })
        });
        usage.collect()
    }

    /// Ends the processes.
    ///
    /// # Errors
    /// Returns an error if a process does not end.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Promesh(mesh) => mesh.stop().await,
            Self::Peer { process, .. } => process.stop().await,
        }
    }
}
