//! A mesh and the Cortex behind it.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use harness::cortex_server::Cortex;
use super::{Judgement, native::NativeApp, scenario::Scenario};
use stand_ins::{amp::{AmpOptions, Outcome}, otel::Pusher};
use harness::{arrivals::{self, lost_or_repeated}, mesh::{Mesh, MeshOptions}};
use demo;

/// A mesh and the Cortex behind it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) mesh: Mesh,
    pub(super) cortex: Cortex,
    native: NativeApp,
    pusher: Option<Pusher>,
    /// Receivers that were killed, by their places.
    killed: Vec<usize>,
    /// Scrapes that may have died with them.
    died: BTreeSet<usize>,
}

/// Scrapes that have to arrive before something happens, and after it.
const SCRAPES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
/// What a killed receiver has asked a target is answered by then, on a busy machine too,
/// and what it has sent has arrived.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Each group's owner of the target may have had one on its way, and one in the hands
/// of an exporter.
const MAX_DIED: usize = 4;

// === impl Stage ===

impl Stage {
    /// Starts a Cortex and a mesh before it.
    ///
    /// # Errors
    /// Where a part does not start.
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
            // They are read every second.
            sleep(Duration::from_secs(3)).await;
        }
        let native = NativeApp::start().await?;
        let mesh = Mesh::start(MeshOptions {
            program: program.to_owned(),
            scrape_interval: "1s".to_owned(),
            more_jobs: native.job(),
            amp,
            ..MeshOptions::default()
        });
        let mesh = mesh.await?;
        let gateway = mesh.gateway.addresses.grpc.clone().context("no gateway")?;
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

    /// Lets an application push for a while. What fails is in the next push, since its
    /// counter is cumulative.
    ///
    /// # Errors
    /// Where the application panics.
    pub(super) async fn go_on(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            // Whoever has to wait for an answer waits.
            let _ = self.push().await?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until so many scrapes more have arrived and none but the newest waits.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        let wanted = self.arrived() + SCRAPES;
        let started = Instant::now();
        while self.arrived() < wanted || self.missing().len() > MAX_DIED {
            if started.elapsed() > PATIENCE {
                let logs = self.mesh.logs().display();
                bail!("{} scrapes arrived; logs in {logs}", self.arrived());
            }
            self.go_on(POLL).await?;
        }
        while let Err(error) = self.push().await? {
            anyhow::ensure!(started.elapsed() < PATIENCE, "push: {error:#}");
        }
        Ok(())
    }

    /// Stops everything and judges what it came to.
    ///
    /// # Errors
    /// Where a part does not stop or answer.
    pub(super) async fn end(mut self, scenario: Scenario) -> anyhow::Result<Judgement> {
        self.mesh.stop_senders().await?;
        let backend = self.mesh.amp.backend();
        let totals = backend.totals();
        let pusher = self.pusher.take().context("no application")?;
        let counters = scenario.counters();
        let mut complaints = super::audit::audit_with(&self.cortex, backend, counters).await?;
        let refused = totals.of(Outcome::Refused);
        if scenario.max_series().is_none() {
            complaints.extend(demo::validate(&self.mesh, &pusher)?.differences);
        } else if refused == 0 {
            complaints.push("nothing was refused".to_owned());
        }
        let elections = backend.elections();
        if !scenario.elections().contains(&elections) {
            complaints.push(format!("{elections} elections"));
        }
        if self.died.len() > MAX_DIED {
            complaints.push(format!("{} scrapes died", self.died.len()));
        }
        // Those of the other target that died are as many at most.
        let may_miss = if self.died.is_empty() { 0 } else { MAX_DIED };
        let native = backend.read(|arrivals| self.native.complaints(arrivals, may_miss));
        complaints.extend(native);
        for (scrape, times) in lost_or_repeated(&self.mesh) {
            if times > 1 || !self.died.contains(&scrape) {
                complaints.push(format!("scrape {scrape} arrived {times} times"));
            }
        }
        // Its end is a last push, which nobody takes any more, and blocks.
        spawn_blocking(move || drop(pusher)).await?;
        Ok(Judgement {
            scrapes: self.arrived(),
            samples: totals.of(Outcome::Stored),
            deduplicated: totals.of(Outcome::Deduplicated),
            duplicates: totals.of(Outcome::Duplicate),
            refused,
            elections,
            complaints,
        })
    }

    /// The group whose samples were stored last.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn elected(&self) -> anyhow::Result<String> {
        let group = self.mesh.amp.backend().read(|arrivals| {
            let counters = arrivals.iter().rev().filter(|a| arrivals::is_counter(a));
            let mut stored = counters.filter(|arrival| arrival.outcome == Outcome::Stored);
            stored.next().map(|a| arrivals::replica(a).to_owned())
        });
        group.context("no group is elected")
    }

    /// Kills (SIGKILL) so many receivers of a group.
    ///
    /// # Errors
    /// Where one has ended already.
    pub(super) async fn kill_receivers(&mut self, group: &str, count: usize) -> anyhow::Result<()> {
        let receivers = self.mesh.receivers.iter_mut().enumerate();
        let prefix = format!("receiver-{group}-");
        let of_group = receivers.filter(|(_, service)| service.name.starts_with(&prefix));
        for (place, service) in of_group.take(count) {
            service.kill().await?;
            self.killed.push(place);
        }
        sleep(LAST_WORDS).await;
        self.died = self.missing();
        Ok(())
    }

    /// Starts all receivers that were killed.
    ///
    /// # Errors
    /// Where one does not start.
    pub(super) async fn restart_receivers(&mut self) -> anyhow::Result<()> {
        for place in self.killed.drain(..) {
            self.mesh.receivers[place].restart().await?;
        }
        Ok(())
    }

    async fn push(&mut self) -> anyhow::Result<anyhow::Result<()>> {
        let pusher = self.pusher.take().context("no application")?;
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
