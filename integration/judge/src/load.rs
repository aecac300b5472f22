//! `load`: many targets, scraped and stored by real processes at a given rate while
//! some of them are killed, and what that cost.
//!
//! ```text
//! targets ─▶ receivers ─▶ exporters ─▶ stand-in ─▶ ledger ─▶ judge
//!              ▲     SIGKILL    ▲          ▲ sick            ▲
//!              └───── kills ────┴──────────┘  served, accounts
//! ```

mod delays;
mod exposition;
mod fleet;
mod judge;
mod kills;
mod ledger;
mod peer;
mod report;
pub mod targets;
mod watch;

use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::BodyExt;
use mesh_base::clock::Clock;
use mesh_net::http_client::HttpClient;
use tokio::time::{Instant, sleep, sleep_until};

use stand_ins::amp::{Amp, AmpOptions};
use delays::Delays;
use exposition::Exposition;
use fleet::{Fleet, Life};
use judge::Run;
use kills::{Event, Kill, Rhythm, Sickness, Victim};
use ledger::Ledger;
use report::{Conditions, Tick};
use targets::Served;
use watch::Watch;

/// Flags of the load.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Samples a second that are scraped, on average over the run.
    #[arg(long, default_value_t = 100_000)]
    rate: usize,

    /// How long, from when every target has been scraped once.
    #[arg(long, default_value = "30m", value_parser = mesh_model::config::duration::parse)]
    duration: Duration,

    /// Time between two scrapes of a target.
    #[arg(long, default_value = "15s", value_parser = mesh_model::config::duration::parse)]
    interval: Duration,

    /// Time between two kills, on average; 0 for none.
    #[arg(long, default_value = "60s", value_parser = mesh_model::config::duration::parse)]
    kill_every: Duration,

    /// Who is killed when follows from it, and what ails the backend meanwhile.
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

    /// After how long receivers spill what waits; 0 for at once.
    #[arg(long, default_value = "0s", value_parser = mesh_model::config::duration::parse)]
    spill_after: Duration,

    /// Receivers have no disk: those that are killed take with them what waits.
    #[arg(long, conflicts_with = "spill_after")]
    no_spill: bool,

    /// Show what takes too long, and do not fail for it: the machine has other things
    /// to do.
    #[arg(long)]
    any_pace: bool,

    /// A program that scrapes and sends in the place of receivers and exporters, to see
    /// what it costs: vmagent, or a Prometheus 3, which runs as an agent. Nothing is
    /// killed, and nothing is judged.
    #[arg(long)]
    peer: Option<PathBuf>,
}

/// A run under way.
struct Load<'a> {
    args: &'a LoadArgs,
    amp: Amp,
    fleet: Fleet,
    ledger: Arc<Ledger>,
    watch: Watch,
    started: Instant,
    delays: Delays,
    served: Vec<Served>,
    lives: Vec<Life>,
    kills: Vec<Kill>,
    sickness: Option<Sickness>,
}

const TICK: Duration = Duration::from_secs(5);
const STAND_IN: &str = "stand-in";
/// How long it may take until every target has been scraped once, beside an interval.
const WARM_UP: Duration = Duration::from_secs(60);
/// More series than kills and the rendering of whole blocks ask for.
const MARGIN: f64 = 0.005;

/// Runs it with `program` as the services, and prints what it cost.
///
/// # Errors
/// Where a part does not start, or a law was broken.
pub async fn run(args: &LoadArgs, program: &Path) -> anyhow::Result<()> {
    let mut load = Load::start(args, program).await?;
    report::print_header(args);
    load.warm_up().await?;
    let before = load.served.len();
    load.go().await?;
    let scraped = (load.served.len() - before) * args.samples();
    let mut complaints = load.end().await?;
    let counts = load.ledger.counts();
    let conditions = Conditions {
        duration: args.duration,
        asked: args.rate as f64,
        achieved: scraped as f64 / args.duration.as_secs_f64(),
        stored: counts.stored,
        delays: &load.delays,
        watch: &load.watch,
    };
    if args.peer.is_some() {
        report::print_cost(&conditions);
        return Ok(());
    }
    let run = Run {
        interval: args.interval,
        spill_after: args.spill_after(),
        samples: args.samples(),
        served: load.served,
        scrapes: load.ledger.scrapes(),
        counts,
        lives: load.lives,
        kills: load.kills,
    };
    complaints.extend(conditions.complaints());
    let mut judgement = judge::judge(&run);
    judgement.complaints.extend(complaints);
    judgement.late.extend(conditions.late());
    report::print(&run, &judgement, &conditions);
    let late = judgement.late.len();
    let failures = judgement.complaints.len() + if args.any_pace { 0 } else { late };
    ensure!(failures == 0, "{failures} complaints");
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

    /// How many series each has.
    fn series(&self) -> usize {
        let series = self.all_series().div_ceil(self.targets());
        series.next_multiple_of(exposition::BLOCK)
    }

    /// How many samples a scrape has.
    fn samples(&self) -> usize {
        Exposition::new(self.series()).samples()
    }

    /// As many as make up for the slots that receivers miss while they are away.
    fn all_series(&self) -> usize {
        let spare = 1.0 + self.rhythm().missed() + MARGIN;
        (self.rate as f64 * spare * self.interval.as_secs_f64()) as usize
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            seed: self.seed,
            every: match self.peer {
                Some(_) => Duration::ZERO,
                None => self.kill_every,
            },
            until: self.duration,
            receivers: self.receivers,
            exporters: self.exporters,
        }
    }

    /// After how long a receiver spills; `None` where it has no disk.
    fn spill_after(&self) -> Option<Duration> {
        (!self.no_spill).then_some(self.spill_after)
    }
}

// === impl Load ===

impl<'a> Load<'a> {
    async fn start(args: &'a LoadArgs, program: &Path) -> anyhow::Result<Self> {
        let exposition = Exposition::new(args.series());
        let ledger = Arc::new(Ledger::new(args.targets(), exposition)?);
        let amp = Amp::start(AmpOptions {
            intake: Some(ledger.clone()),
            ..AmpOptions::default()
        })
        .await?;
        Ok(Self {
            args,
            fleet: Fleet::start(args, program, &amp).await?,
            amp,
            ledger,
            watch: Watch::default(),
            started: Instant::now(),
            delays: Delays::default(),
            served: Vec::new(),
            lives: Vec::new(),
            kills: Vec::new(),
            sickness: None,
        })
    }

    /// Waits until every target has been scraped once: the run begins then.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let limit = self.args.interval + WARM_UP;
        loop {
            self.fetch_served().await?;
            let scraped: BTreeSet<_> = self.served.iter().map(|served| served.target).collect();
            if scraped.len() == self.args.targets() {
                self.started = Instant::now();
                return Ok(());
            }
            let scraped = scraped.len();
            ensure!(
                self.started.elapsed() < limit,
                "{scraped} targets scraped in {limit:?}"
            );
            sleep(TICK / 10).await;
        }
    }

    /// Lets things happen and looks on until the time is over.
    async fn go(&mut self) -> anyhow::Result<()> {
        let mut events = VecDeque::from(self.args.rhythm().events());
        let mut tick = TICK;
        loop {
            let next = events.front().map_or(Duration::MAX, |(at, _)| *at);
            let until = next.min(tick).min(self.args.duration);
            sleep_until(self.started + until).await;
            if until == self.args.duration {
                return self.tick().await;
            }
            if until == tick {
                self.tick().await?;
                tick += TICK;
            } else if let Some((_, event)) = events.pop_front() {
                self.happen(event).await?;
            }
        }
    }

    /// Looks at everything and prints a line.
    async fn tick(&mut self) -> anyhow::Result<()> {
        let counts = self.ledger.counts();
        self.look()?;
        self.fetch_served().await?;
        for receiver in 0..self.fleet.receivers.len() {
            if self.fleet.receivers[receiver].pid().is_some() {
                let account = self.fleet.account(receiver).await?;
                ensure!(account.balances(), "receiver-{receiver}: {account:?}");
            }
        }
        let delays = self.ledger.take_delays();
        self.delays.merge(&delays);
        report::print_tick(&Tick {
            elapsed: self.started.elapsed(),
            served: self.served.len(),
            counts,
            delays: &delays,
            watch: &self.watch,
        });
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let now = self.started.elapsed();
        for (name, pid) in self.fleet.processes() {
            self.watch.look(name, pid, now)?;
        }
        self.watch.look(STAND_IN, std::process::id(), now)
    }

    async fn happen(&mut self, event: Event) -> anyhow::Result<()> {
        let faults = self.amp.backend().faults().clone();
        match event {
            Event::Sicken(sickness) => {
                faults.always(Some(sickness.fault()));
                self.sickness = Some(sickness);
            }
            Event::Heal => {
                faults.always(None);
                self.sickness = None;
                if let Some(kill) = self.kills.last_mut() {
                    kill.well_ms = Clock::system().now_ms();
                }
            }
            Event::Kill(victim) => self.kill(victim).await?,
            Event::Return(victim) => self.bring_back(victim).await?,
        }
        Ok(())
    }

    async fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        // Its processor time goes with it.
        self.look()?;
        let mut waiting = 0;
        for receiver in 0..self.args.receivers {
            waiting += self.fleet.account(receiver).await?.waiting;
        }
        let (had, on_disk, account) = match victim {
            Victim::Receiver(i) => {
                let account = self.fleet.account(i).await?;
                (account.waiting, account.spilled, Some(account))
            }
            Victim::Exporter(i) => (self.fleet.under_way(i).await?, 0, None),
        };
        self.fleet.service(victim).kill().await?;
        let at_ms = Clock::system().now_ms();
        if let (Victim::Receiver(receiver), Some(account)) = (victim, account) {
            self.lives.push(Life {
                receiver,
                until_ms: i64::MAX,
                account,
                killed_ms: Some(at_ms),
            });
        }
        let kill = Kill {
            victim,
            sickness: self.sickness,
            at_ms,
            back_ms: i64::MAX,
            well_ms: i64::MAX,
            waiting,
            had,
            on_disk,
        };
        println!("SIGKILL to {kill}");
        self.kills.push(kill);
        Ok(())
    }

    async fn bring_back(&mut self, victim: Victim) -> anyhow::Result<()> {
        // Until now nothing that was scraped was scraped by its next life.
        let until_ms = Clock::system().now_ms();
        if let (Victim::Receiver(_), Some(life)) = (victim, self.lives.last_mut()) {
            life.until_ms = until_ms;
        }
        self.fleet.service(victim).restart().await?;
        if let Some(kill) = self.kills.last_mut() {
            let back_ms = Clock::system().now_ms();
            (kill.back_ms, kill.well_ms) = (back_ms, back_ms);
        }
        Ok(())
    }

    /// Stops the receivers. Returns what is wrong with the exporters' counts.
    async fn end(&mut self) -> anyhow::Result<Vec<String>> {
        let ended = self.fleet.stop_receivers().await?;
        self.lives.extend(ended);
        self.fetch_served().await?;
        self.delays.merge(&self.ledger.take_delays());
        self.fleet.unsettled().await
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
