//! `load`: scrapes many targets at a given rate with real processes, kills some of them,
//! and measures loss and cost.
//!
//! ```text
//! targets ─▶ receivers ─▶ exporters ─▶ stand-in ─▶ ledger ─▶ judge
//!              ▲     SIGKILL    ▲          ▲ fault           ▲
//!              └───── kills ────┴──────────┘ served, accounts
//! ```

mod args;
mod delays;
mod exposition;
mod fleet;
mod judge;
mod kills;
mod ledger;
mod report;
pub mod targets;
mod usage;

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use mesh_base::clock::Clock;
use mesh_net::http_client::HttpClient;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::starvation::{self, Void};
pub use args::LoadArgs;
use delays::Delays;
use exposition::Exposition;
use fleet::{Fleet, Lifetime};
use judge::{Judgement, Run};
use kills::{BackendFault, Event, Kill, Victim};
use ledger::Ledger;
use report::{Costs, Progress};
use stand_ins::amp::{Amp, AmpOptions};
use targets::Served;
use usage::{STAND_IN, Usage};

/// A run in progress.
struct Load<'a> {
    args: &'a LoadArgs,
    amp: Amp,
    fleet: Fleet,
    ledger: Arc<Ledger>,
    usage: Usage,
    started: Instant,
    delays: Delays,
    served: Vec<Served>,
    lifetimes: Vec<Lifetime>,
    kills: Vec<Kill>,
    fault: Option<BackendFault>,
}

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time until every target has been scraped once, in addition to an interval.
const WARM_UP: Duration = Duration::from_secs(60);

/// Runs the load. `program` is the executable whose subcommands run the services.
///
/// # Errors
/// Returns an error if a process does not start or a law was broken. The error is a
/// [`Void`] if only a starved machine can be the reason.
pub async fn run(args: &LoadArgs, program: &Path) -> anyhow::Result<()> {
    let judge = async || run_once(args, program).await;
    let (judgement, starvation) =
        starvation::retry_if_void("load", judge, |judgement| match judgement {
            Ok(judgement) => {
                judgement.violations.is_empty() && judgement.failures(args.any_pace) > 0
            }
            Err(error) => starvation::is_timeout(error),
        })
        .await;
    if starvation.is_some() {
        let runs = vec!["load".to_owned()];
        return Err(Void { runs }.into());
    }
    let failures = judgement?.failures(args.any_pace);
    ensure!(failures == 0, "{failures} violations");
    Ok(())
}

/// Runs the load once and prints the report.
async fn run_once(args: &LoadArgs, program: &Path) -> anyhow::Result<Judgement> {
    let mut load = Load::start(args, program).await?;
    report::print_header(args);
    load.warm_up().await?;
    let before = load.served.len();
    load.run_schedule().await?;
    let scraped = (load.served.len() - before) * args.samples();
    let mut violations = load.stop().await?;
    let counts = load.ledger.counts();
    let costs = Costs {
        duration: args.duration,
        asked: args.rate as f64,
        achieved: scraped as f64 / args.duration.as_secs_f64(),
        stored: counts.stored,
        delays: &load.delays,
        usage: &load.usage,
    };
    let run = Run {
        interval: args.interval,
        spill_after: args.spill_after(),
        samples: args.samples(),
        served: load.served,
        scrapes: load.ledger.scrapes(),
        counts,
        lifetimes: load.lifetimes,
        kills: load.kills,
    };
    violations.extend(costs.violations());
    let mut judgement = judge::judge(&run);
    judgement.violations.extend(violations);
    judgement
        .timing_violations
        .extend(costs.timing_violations());
    report::print(&run, &judgement, &costs);
    Ok(judgement)
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
            usage: Usage::default(),
            started: Instant::now(),
            delays: Delays::default(),
            served: Vec::new(),
            lifetimes: Vec::new(),
            kills: Vec::new(),
            fault: None,
        })
    }

    /// Waits until every target has been scraped once. The run begins then.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let limit = self.args.interval + WARM_UP;
        let all_scraped = timeout(limit, async {
            while self.scraped_targets() < self.args.targets() {
                sleep(PROGRESS_INTERVAL / 10).await;
                self.fetch_served().await?;
            }
            Ok::<_, anyhow::Error>(())
        });
        let all_scraped = all_scraped.await;
        all_scraped.with_context(|| {
            let (scraped, all) = (self.scraped_targets(), self.args.targets());
            format!("{scraped} of {all} targets scraped in {limit:?}")
        })??;
        self.started = Instant::now();
        Ok(())
    }

    fn scraped_targets(&self) -> usize {
        let scraped: BTreeSet<_> = self.served.iter().map(|served| served.target).collect();
        scraped.len()
    }

    /// Applies the scheduled events and prints the progress until the run is over.
    async fn run_schedule(&mut self) -> anyhow::Result<()> {
        let mut events = VecDeque::from(self.args.schedule().events());
        let mut tick = PROGRESS_INTERVAL;
        loop {
            let next = events.front().map_or(Duration::MAX, |(at, _)| *at);
            let until = next.min(tick).min(self.args.duration);
            sleep_until(self.started + until).await;
            if until == self.args.duration {
                return self.report_progress().await;
            }
            if until == tick {
                self.report_progress().await?;
                tick += PROGRESS_INTERVAL;
            } else if let Some((_, event)) = events.pop_front() {
                self.apply(event).await?;
            }
        }
    }

    /// Measures all processes, checks the accounts and prints a line.
    async fn report_progress(&mut self) -> anyhow::Result<()> {
        let counts = self.ledger.counts();
        self.measure_processes()?;
        self.fetch_served().await?;
        for receiver in 0..self.fleet.mesh.receivers.len() {
            if self.fleet.mesh.receivers[receiver].pid().is_some() {
                let account = self.fleet.account(receiver).await?;
                ensure!(account.balances(), "receiver-{receiver}: {account:?}");
            }
        }
        let delays = self.ledger.take_delays();
        self.delays.merge(&delays);
        report::print_progress(&Progress {
            elapsed: self.started.elapsed(),
            served: self.served.len(),
            counts,
            delays: &delays,
            usage: &self.usage,
        });
        Ok(())
    }

    fn measure_processes(&mut self) -> anyhow::Result<()> {
        let now = self.started.elapsed();
        for (name, pid) in self.fleet.processes() {
            self.usage.measure(name, pid, now)?;
        }
        self.usage.measure(STAND_IN, std::process::id(), now)
    }

    async fn apply(&mut self, event: Event) -> anyhow::Result<()> {
        let faults = self.amp.backend().faults().clone();
        match event {
            Event::StartFault(fault) => {
                faults.always(Some(fault.fault()));
                self.fault = Some(fault);
            }
            Event::EndFault => {
                faults.always(None);
                self.fault = None;
                if let Some(kill) = self.kills.last_mut() {
                    kill.recovered_ms = Clock::system().now_ms();
                }
            }
            Event::Kill(victim) => self.kill(victim).await?,
            Event::Restart(victim) => self.restart(victim).await?,
        }
        Ok(())
    }

    async fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        // The CPU time of a process cannot be read after its end.
        self.measure_processes()?;
        let mut waiting = 0;
        for receiver in 0..self.args.receivers {
            waiting += self.fleet.account(receiver).await?.waiting;
        }
        let (pending, on_disk, account) = match victim {
            Victim::Receiver(i) => {
                let account = self.fleet.account(i).await?;
                (account.waiting, account.spilled, Some(account))
            }
            Victim::Exporter(i) => (self.fleet.in_flight(i).await?, 0, None),
        };
        self.fleet.service(victim).kill().await?;
        let at_ms = Clock::system().now_ms();
        if let (Victim::Receiver(receiver), Some(account)) = (victim, account) {
            self.lifetimes.push(Lifetime {
                receiver,
                until_ms: i64::MAX,
                account,
                killed_ms: Some(at_ms),
            });
        }
        let kill = Kill {
            victim,
            fault: self.fault,
            at_ms,
            restarted_ms: i64::MAX,
            recovered_ms: i64::MAX,
            waiting,
            pending,
            on_disk,
        };
        println!("SIGKILL to {kill}");
        self.kills.push(kill);
        Ok(())
    }

    async fn restart(&mut self, victim: Victim) -> anyhow::Result<()> {
        // All scrapes until now belong to the previous process.
        let until_ms = Clock::system().now_ms();
        if let (Victim::Receiver(_), Some(lifetime)) = (victim, self.lifetimes.last_mut()) {
            lifetime.until_ms = until_ms;
        }
        self.fleet.service(victim).restart().await?;
        if let Some(kill) = self.kills.last_mut() {
            let restarted_ms = Clock::system().now_ms();
            (kill.restarted_ms, kill.recovered_ms) = (restarted_ms, restarted_ms);
        }
        Ok(())
    }

    /// Stops the receivers. Describes what is wrong with the exporters' counts.
    async fn stop(&mut self) -> anyhow::Result<Vec<String>> {
        let ended = self.fleet.stop_receivers().await?;
        self.lifetimes.extend(ended);
        self.fetch_served().await?;
        self.delays.merge(&self.ledger.take_delays());
        self.fleet.unbalanced().await
    }

    async fn fetch_served(&mut self) -> anyhow::Result<()> {
        let web = self.fleet.targets.addresses.web;
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
