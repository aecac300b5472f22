//! `chaos`: injects one failure at a time into a mesh of real processes and judges what it
//! cost.
//!
//! ```text
//! start ─▶ some scrapes ─▶ fault ─▶ wait ─▶ repair ─▶ all has arrived ─▶ stop ─▶ judge
//! ```
//!
//! `cluster` runs the mesh. `views` and `proxy` decide which pods see and reach each other.
//! `scenarios` inject the faults. `judge` reads a `record` of what happened.

mod clock;
mod cluster;
mod disk;
mod judge;
mod monitor;
mod pod;
mod proxy;
mod pushes;
mod record;
mod scenario;
mod scenarios;
mod shape;
mod table;
mod views;
mod virtual_day;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use mesh_base::clock::Clock;
use tokio::time::{sleep, timeout};

use cluster::Cluster;
use judge::Judgement;
use monitor::Monitor;
use pushes::Pushes;
use record::Record;
use scenario::Scenario;
use shape::Second;

use crate::starvation::{self, Void, Watchdog};
use harness::cortex_server::Cortex;
use stand_ins::amp::Amp;

/// Flags of `chaos`.
#[derive(Clone, Debug, clap::Args)]
pub struct ChaosArgs {
    /// Run only a few short scenarios, one of each kind.
    #[arg(long, conflicts_with = "scenarios")]
    quick: bool,

    /// Seed of all random choices: victims, delays and orders. The default is the current
    /// time. Each result names its seed.
    #[arg(long)]
    seed: Option<u64>,

    /// Keep the logs of scenarios that fail, and print their path.
    #[arg(long)]
    keep: bool,

    /// Put this Cortex behind the stand-in, one process per scenario. Scenarios that need
    /// responses of the stand-in itself are omitted. At the end, Cortex must store what it
    /// acknowledged.
    #[arg(long)]
    cortex: Option<PathBuf>,

    /// Scenarios to run, in this order. The default is all of them.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

/// Number of scrapes of each target that are stored before the fault, and after the repair.
const SCRAPES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

/// Runs scenarios and prints one line for each. `program` is the executable whose
/// subcommands run the services.
///
/// # Errors
/// Returns an error if a service does not start or a scenario breaks a law. The error is a
/// [`Void`] if only a starved machine can be the reason.
pub async fn run(args: &ChaosArgs, program: &Path) -> anyhow::Result<()> {
    table::print_header();
    let watchdog = Watchdog::start();
    let (mut failed, mut void) = (Vec::new(), Vec::new());
    for scenario in args.scenarios() {
        let seed = args.seed.unwrap_or_else(random_seed);
        let name = scenario.name();
        let run_name = format!("{name} --seed={seed}");
        let judge = async || match scenario {
            Scenario::VirtualDay => virtual_day::run(seed).await,
            _ => run_scenario(scenario, program, seed, args).await,
        };
        let (judgement, starvation) =
            starvation::retry_if_void(&run_name, judge, is_excusable).await;
        let passed = judgement.as_ref().is_ok_and(Judgement::passed);
        match judgement {
            Ok(judgement) => {
                table::print_line(&name, seed, &judgement, starvation.is_some());
            }
            Err(error) => println!("{run_name}: {error:#}"),
        }
        if starvation.is_some() {
            void.push(run_name);
        } else if !passed {
            failed.push(run_name);
        }
    }
    println!("machine: {}", watchdog.stop());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if !void.is_empty() {
        return Err(Void { runs: void }.into());
    }
    Ok(())
}

/// Runs one scenario in a new mesh.
///
/// # Errors
/// Returns an error if a service does not start or stop, or if no samples flow before the
/// fault.
async fn run_scenario(
    scenario: Scenario,
    program: &Path,
    seed: u64,
    args: &ChaosArgs,
) -> anyhow::Result<Judgement> {
    let mut shape = scenario.shape();
    let cortex = match &args.cortex {
        Some(cortex) => Some(Cortex::start(cortex, &[]).await?),
        None => None,
    };
    if let Some(cortex) = &cortex {
        shape.upstream = Some(cortex.upstream()?);
    }
    let mut cluster = Cluster::start(shape, program.to_owned(), seed).await?;
    let mut judgement = run_in(scenario, &mut cluster).await;
    if let (Some(cortex), Ok(judgement)) = (&cortex, &mut judgement) {
        let violations = crate::audit::audit(cortex, cluster.amp.backend()).await?;
        judgement.violations.extend(violations);
    }
    if args.keep && !judgement.as_ref().is_ok_and(Judgement::passed) {
        println!("logs: {}", cluster.keep_logs().display());
    }
    judgement
}

/// Runs a scenario in a mesh that has just been started.
async fn run_in(scenario: Scenario, cluster: &mut Cluster) -> anyhow::Result<Judgement> {
    let pushes = Pushes::start(cluster.gateways.address().to_string());
    let mut monitor = Monitor::default();
    cluster.end_fault();
    let is_down = cluster.shape.second == Second::Down;
    let second = cluster.second.as_ref().filter(|_| !is_down);
    wait_for_flows(cluster, second, &mut monitor).await?;
    let fault_begin_ms = Clock::system().now_ms();
    scenario.run(cluster).await?;
    wait_for_flows(cluster, cluster.second.as_ref(), &mut monitor).await?;
    let acknowledged = pushes.stop().await?;
    for pod in &mut cluster.pods {
        pod.record_memory();
    }
    monitor.check(cluster).await;
    let stops = cluster.pods.iter_mut().filter(|pod| pod.is_sender());
    futures::future::try_join_all(stops.map(|pod| pod.stop())).await?;
    let mut record = Record::of(cluster, acknowledged, scenario.rules())?;
    record.violations = monitor.violations();
    if cluster.shape.second == Second::None {
        return Ok(judge::judge(&record));
    }
    let second = cluster.second.as_ref();
    let second =
        second.map(|it| judge::judge(&record.at(it.backend(), scenario.rules_of_second())));
    // The first destination must not notice the fault.
    record.fault_end_ms = fault_begin_ms;
    let first = judge::judge(&record);
    Ok(match second {
        Some(second) => first.merge(second),
        None => first,
    })
}

/// Waits until each flow has delivered since the end of the fault, to the second destination
/// too if there is one, and the backlogs have, too.
///
/// # Errors
/// Returns an error after [`TIMEOUT`], with the flows that have arrived.
async fn wait_for_flows(
    cluster: &Cluster,
    second: Option<&Amp>,
    monitor: &mut Monitor,
) -> anyhow::Result<()> {
    let (fault_end_ms, flows) = (cluster.fault_end_ms, cluster.flows());
    for amp in [Some(&cluster.amp), second].into_iter().flatten() {
        let backend = amp.backend();
        let all_arrived = async {
            while backend.read(|arrivals| judge::first(arrivals, fault_end_ms).len() < flows) {
                monitor.check(cluster).await;
                sleep(POLL).await;
            }
        };
        timeout(TIMEOUT, all_arrived).await.with_context(|| {
            let arrived = backend.read(|all| format!("{:?}", judge::first(all, fault_end_ms)));
            format!("after {TIMEOUT:?}, only these of {flows} flows have arrived: {arrived}")
        })?;
    }
    // The backlogs of all lanes follow their first requests.
    sleep(cluster.shape.interval * SCRAPES).await;
    Ok(())
}

/// Returns `true` if every failure may be due to a starved machine.
fn is_excusable(judgement: &anyhow::Result<Judgement>) -> bool {
    match judgement {
        Ok(judgement) => judgement.violations.is_empty() && !judgement.passed(),
        Err(error) => starvation::is_timeout(error),
    }
}

/// A different seed each time.
fn random_seed() -> u64 {
    Clock::system().now_ms().unsigned_abs() % 1_000_000
}

// === impl ChaosArgs ===

impl ChaosArgs {
    fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = if self.quick {
            Scenario::QUICK.to_vec()
        } else if self.scenarios.is_empty() {
            Scenario::all()
        } else {
            self.scenarios.clone()
        };
        scenarios.retain(|scenario| self.cortex.is_none() || !scenario.needs_stand_in());
        scenarios
    }
}
