//! `load`: many targets, scraped and stored by real processes at a given rate while
//! some of them are killed, and what that cost.
//!
//! ```text
//! targets ─▶ receivers ─▶ exporters ─▶ stand-in ─▶ ledger ─▶ judge
//!              ▲     SIGKILL    ▲                            ▲
//!              └───── kills ────┘      served, accounts ─────┘
//! ```

mod delays;
mod exposition;
mod fleet;
mod judge;
mod kills;
mod ledger;
mod report;
pub mod targets;
mod watch;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::bail;
use bytes::Bytes;
use http_body_util::BodyExt;
use mesh::{clock::Clock, http_client::HttpClient};
use tokio::time::{Instant, sleep_until};

use crate::amp::{Amp, AmpOptions};
use delays::Delays;
use exposition::Exposition;
use fleet::{Fleet, Life};
use judge::Run;
use kills::{Kill, Kills, Victim};
use ledger::Ledger;
use report::{Conditions, Tick};
use targets::Served;
use watch::Watch;

/// Flags of the load.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Samples a second that are scraped.
    #[arg(long, default_value_t = 100_000)]
    rate: usize,

    /// How long.
    #[arg(long, default_value = "30m", value_parser = mesh::config::duration::parse)]
    duration: Duration,

    /// Time between two scrapes of a target.
    #[arg(long, default_value = "15s", value_parser = mesh::config::duration::parse)]
    interval: Duration,

    /// Time between two kills; 0 for none.
    #[arg(long, default_value = "60s", value_parser = mesh::config::duration::parse)]
    kill_every: Duration,

    /// Who is killed follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Series of a target at most.
    #[arg(long, default_value_t = 25_000)]
    max_series: usize,

    /// How many receivers share the targets.
    #[arg(long, default_value_t = 3)]
    receivers: usize,

    /// How many exporters.
    #[arg(long, default_value_t = 3)]
    exporters: usize,
}

/// A run under way.
struct Load<'a> {
    args: &'a LoadArgs,
    fleet: Fleet,
    ledger: Arc<Ledger>,
    watch: Watch,
    started: Instant,
    delays: Delays,
    served: Vec<Served>,
    lives: Vec<Life>,
    kills: Vec<Kill>,
}

const TICK: Duration = Duration::from_secs(5);
const STAND_IN: &str = "stand-in";

/// Runs it with `program` as the services, and prints what it cost.
///
/// # Errors
/// Where a part does not start, or a law was broken.
pub async fn run(args: &LoadArgs, program: &Path) -> anyhow::Result<()> {
    let exposition = Exposition::new(args.series());
    let samples = exposition.samples();
    let ledger = Arc::new(Ledger::new(args.targets(), exposition)?);
    let amp = Amp::start(AmpOptions {
        intake: Some(ledger.clone()),
        ..AmpOptions::default()
    })
    .await?;
    let mut load = Load {
        args,
        fleet: Fleet::start(args, program, &amp).await?,
        ledger,
        watch: Watch::default(),
        started: Instant::now(),
        delays: Delays::default(),
        served: Vec::new(),
        lives: Vec::new(),
        kills: Vec::new(),
    };
    report::print_header(args);
    load.go().await?;
    let exporters = load.end().await?;
    let run = Run {
        interval: args.interval,
        samples,
        served: load.served,
        scrapes: load.ledger.scrapes(),
        counts: load.ledger.counts(),
        lives: load.lives,
        kills: load.kills,
    };
    let mut judgement = judge::judge(&run);
    judgement.complaints.extend(exporters);
    let conditions = Conditions {
        duration: args.duration,
        delays: &load.delays,
        watch: &load.watch,
    };
    judgement.complaints.extend(conditions.memory_complaints());
    report::print(&run, &judgement, &conditions);
    if !judgement.is_good() {
        bail!("{} complaints", judgement.complaints.len());
    }
    Ok(())
}

// === impl LoadArgs ===

impl LoadArgs {
    /// How many targets there are.
    fn targets(&self) -> usize {
        self.all_series()
            .div_ceil(self.max_series)
            .max(self.receivers)
    }

    /// How many series each has: whole blocks, so that the rate is at least reached.
    fn series(&self) -> usize {
        let series = self.all_series().div_ceil(self.targets());
        series.next_multiple_of(exposition::BLOCK)
    }

    fn all_series(&self) -> usize {
        (self.rate as f64 * self.interval.as_secs_f64()) as usize
    }
}

// === impl Load ===

impl Load<'_> {
    /// Looks and kills until the time is over.
    async fn go(&mut self) -> anyhow::Result<()> {
        let mut kills = Kills::new(self.args.seed, self.args.receivers, self.args.exporters);
        let mut next_kill = self.args.kill_every;
        loop {
            let next = (self.started.elapsed() + TICK).min(self.args.duration);
            sleep_until(self.started + next).await;
            self.tick().await?;
            let elapsed = self.started.elapsed();
            if elapsed >= self.args.duration {
                return Ok(());
            }
            if next_kill > Duration::ZERO && elapsed >= next_kill {
                next_kill += self.args.kill_every;
                if let Some((victim, down)) = kills.next() {
                    self.kill(victim, down).await?;
                }
            }
        }
    }

    /// Looks at everything and prints a line.
    async fn tick(&mut self) -> anyhow::Result<()> {
        let before = self.ledger.counts().stored;
        self.look()?;
        self.fetch_served().await?;
        for receiver in 0..self.args.receivers {
            let account = self.fleet.account(receiver).await?;
            anyhow::ensure!(account.balances(), "receiver-{receiver}: {account:?}");
        }
        let delays = self.ledger.take_delays();
        self.delays.merge(&delays);
        report::print_tick(&Tick {
            elapsed: self.started.elapsed(),
            served: self.served.len(),
            stored: before,
            counts: self.ledger.counts(),
            delays: &delays,
            watch: &self.watch,
        });
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let now = self.started.elapsed();
        for service in self.fleet.services() {
            if let Some(pid) = service.pid() {
                self.watch.look(&service.name, pid, now)?;
            }
        }
        self.watch.look(STAND_IN, std::process::id(), now)
    }

    async fn kill(&mut self, victim: Victim, down: Duration) -> anyhow::Result<()> {
        self.look()?;
        let at_ms = Clock::system().now_ms();
        match victim {
            Victim::Receiver(i) => {
                let life = self.fleet.kill_receiver(i, down).await?;
                self.lives.push(life);
            }
            Victim::Exporter(i) => {
                let exporter = &mut self.fleet.exporters[i];
                exporter.kill().await?;
                tokio::time::sleep(down).await;
                exporter.restart().await?;
            }
        }
        let until_ms = Clock::system().now_ms();
        println!("SIGKILL to {victim}, back after {} ms", until_ms - at_ms);
        self.kills.push(Kill {
            victim,
            at_ms,
            until_ms,
        });
        Ok(())
    }

    /// Stops the receivers. Returns what is wrong with the exporters' counts.
    async fn end(&mut self) -> anyhow::Result<Vec<String>> {
        let ended = self.fleet.stop_receivers().await?;
        self.lives.extend(ended);
        self.fetch_served().await?;
        self.delays.merge(&self.ledger.take_delays());
        let mut complaints = Vec::new();
        for exporter in &self.fleet.exporters {
            let metrics = exporter.metrics().await?;
            let received = metrics.sum("promesh_exporter_samples_received_total");
            let became = metrics.sum("promesh_exporter_samples_total");
            if received != became {
                let name = &exporter.name;
                complaints.push(format!("{name} received {received} and settled {became}"));
            }
        }
        Ok(complaints)
    }

    async fn fetch_served(&mut self) -> anyhow::Result<()> {
        let web = &self.fleet.targets.addresses.web;
        let url = format!("http://{web}/served?from={}", self.served.len());
        let request = http::Request::get(url).body(Bytes::new())?;
        let response = HttpClient::new(&Default::default())?
            .request(request)
            .await?;
        let body = response.into_body().collect().await?.to_bytes();
        self.served
            .extend(serde_json::from_slice::<Vec<Served>>(&body)?);
        Ok(())
    }
}
