//! A mesh in front of a Cortex.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{judgement::Judgement, native::NativeApp, scenario::Scenario};
use crate::audit;
use demo::mesh::{DemoMesh, MeshOptions};
use harness::arrivals;
use harness::cortex_server::Cortex;
use stand_ins::{
    amp::{AmpOptions, Outcome},
    otel::Pusher,
};

/// A mesh in front of a Cortex.
#[derive(Debug)]
pub(super) struct Testbed {
    pub(super) mesh: DemoMesh,
    pub(super) cortex: Cortex,
    native: NativeApp,
    pusher: Option<Pusher>,
    /// Indexes of killed receivers.
    killed: Vec<usize>,
    /// Scrapes that may have been in the memory of killed receivers.
    died: BTreeSet<usize>,
}

/// Number of scrapes that must arrive before the fault, and after the repair.
const SCRAPES: usize = 10;
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
/// Time after a SIGKILL in which the target's last response and the receiver's last request
/// arrive, on a busy machine too.
const KILL_SETTLE_TIME: Duration = Duration::from_secs(2);
/// Maximum number of scrapes that a kill may lose. Each group's owner of the target may
/// have one in flight, and one at an exporter.
const MAX_DIED: usize = 4;

// === impl Testbed ===

impl Testbed {
    /// Starts a Cortex and a mesh in front of it.
    ///
    /// # Errors
    /// Returns an error if a process does not start.
    pub(super) async fn start(
        cortex: &Path,
        program: &Path,
        max_series: Option<usize>,
    ) -> anyhow::Result<Self> {
        let cortex = Cortex::start(cortex, &[]).await?;
        let mut amp = AmpOptions {
            upstream: Some(cortex.upstream()?),
            ..AmpOptions::default()
        };
        if let Some(max_series) = max_series {
            amp.max_series = max_series;
            cortex.limit(&format!("{{max_series_per_user: {max_series}}}"))?;
            // Cortex reads its limits every second.
            sleep(Duration::from_secs(3)).await;
        }
        let native = NativeApp::start().await?;
        let mesh = DemoMesh::start(MeshOptions {
            program: program.to_owned(),
            scrape_interval: "1s".to_owned(),
            more_jobs: native.job(),
            amp,
            ..MeshOptions::default()
        });
        let mesh = mesh.await?;
        let gateway = mesh.gateway()?;
        let pusher = spawn_blocking(move || Pusher::new(&gateway)).await??;
        Ok(Self {
            mesh,
            cortex,
            native,
            pusher: Some(pusher),
            killed: Vec::new(),
            died: BTreeSet::new(),
        })
    }

    /// Pushes repeatedly for a time. A failed push is contained in the next one, since the
    /// counter is cumulative.
    ///
    /// # Errors
    /// Returns an error if the application panics.
    pub(super) async fn push_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            // A push may fail during a fault.
            let _ = self.push().await?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until [`SCRAPES`] more scrapes have arrived and only the newest are missing.
    ///
    /// # Errors
    /// Returns an error if that takes too long.
    pub(super) async fn wait_until_settled(&mut self) -> anyhow::Result<()> {
        let wanted = self.arrived() + SCRAPES;
        let started = Instant::now();
        while self.arrived() < wanted || self.missing().len() > MAX_DIED {
            if started.elapsed() > TIMEOUT {
                let logs = self.mesh.logs().display();
                bail!("{} scrapes arrived; logs in {logs}", self.arrived());
            }
            self.push_for(POLL).await?;
        }
        while let Err(error) = self.push().await? {
            anyhow::ensure!(started.elapsed() < TIMEOUT, "push: {error:#}");
        }
        Ok(())
    }

    /// Stops the mesh and judges the scenario.
    ///
    /// # Errors
    /// Returns an error if a process does not stop or respond.
    pub(super) async fn stop_and_judge(mut self, scenario: Scenario) -> anyhow::Result<Judgement> {
        self.mesh.services.stop_senders().await?;
        let backend = self.mesh.amp.backend();
        let totals = backend.totals();
        let pusher = self.pusher.take().context("no pushing application")?;
        let counter_scope = scenario.counter_scope();
        let mut violations = audit::audit_with(&self.cortex, backend, counter_scope).await?;
        let refused = totals.of(Outcome::Refused);
        if scenario.max_series().is_none() {
            violations.extend(demo::validate(&self.mesh, &pusher)?.differences);
        } else if refused == 0 {
            violations.push("no sample was refused".to_owned());
        }
        let elections = backend.elections();
        if !scenario.elections().contains(&elections) {
            violations.push(format!("{elections} elections"));
        }
        if self.died.len() > MAX_DIED {
            violations.push(format!("kills lost {} scrapes", self.died.len()));
        }
        // A kill loses at most as many scrapes of the other target.
        let may_miss = if self.died.is_empty() { 0 } else { MAX_DIED };
        let native = backend.read(|arrivals| self.native.violations(arrivals, may_miss));
        violations.extend(native);
        for (scrape, times) in self.mesh.lost_or_repeated() {
            if times > 1 || !self.died.contains(&scrape) {
                violations.push(format!("scrape {scrape} arrived {times} times"));
            }
        }
        // Dropping the pusher pushes once more, which fails, and blocks.
        spawn_blocking(move || drop(pusher)).await?;
        Ok(Judgement {
            scrapes: self.arrived(),
            samples: totals.of(Outcome::Stored),
            deduplicated: totals.of(Outcome::Deduplicated),
            duplicates: totals.of(Outcome::Duplicate),
            refused,
            elections,
            violations,
        })
    }

    /// Group whose samples were stored last.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub(super) fn elected(&self) -> anyhow::Result<String> {
        let group = self.mesh.amp.backend().read(|arrivals| {
            let counter_scope = arrivals.iter().rev().filter(|a| arrivals::is_counter(a));
            let mut stored = counter_scope.filter(|arrival| arrival.outcome == Outcome::Stored);
            stored.next().map(|a| arrivals::replica(a).to_owned())
        });
        group.context("no group is elected")
    }

    /// Kills `count` receivers of a group (SIGKILL).
    ///
    /// # Errors
    /// Returns an error if a receiver has already ended.
    pub(super) async fn kill_receivers(&mut self, group: &str, count: usize) -> anyhow::Result<()> {
        let receivers = self.mesh.services.receivers.iter_mut().enumerate();
        let prefix = format!("receiver-{group}-");
        let of_group = receivers.filter(|(_, service)| service.name.starts_with(&prefix));
        for (index, service) in of_group.take(count) {
            service.kill().await?;
            self.killed.push(index);
        }
        sleep(KILL_SETTLE_TIME).await;
        self.died = self.missing();
        Ok(())
    }

    /// Restarts all killed receivers.
    ///
    /// # Errors
    /// Returns an error if a receiver does not start.
    pub(super) async fn restart_receivers(&mut self) -> anyhow::Result<()> {
        for index in self.killed.drain(..) {
            self.mesh.services.receivers[index].restart().await?;
        }
        Ok(())
    }

    async fn push(&mut self) -> anyhow::Result<anyhow::Result<()>> {
        let pusher = self.pusher.take().context("no pushing application")?;
        let (pusher, pushed) = pusher.push().await?;
        self.pusher = Some(pusher);
        Ok(pushed)
    }

    fn arrived(&self) -> usize {
        self.mesh.amp.backend().read(|a| arrivals::scrapes(a).len())
    }

    /// Scrapes that were served and have not arrived.
    fn missing(&self) -> BTreeSet<usize> {
        let arrived = self.mesh.amp.backend().read(arrivals::scrapes);
        let arrived: BTreeSet<_> = arrived.iter().map(|scrape| scrape.number).collect();
        let served = 1..=self.mesh.sample_app.scrapes();
        let missing = served.filter(|scrape| !arrived.contains(scrape));
        missing
            .filter(|scrape| !self.died.contains(scrape))
            .collect()
    }
}
