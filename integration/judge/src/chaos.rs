//! `chaos`: breaks one part of a mesh of real processes at a time, mends it, and
//! judges from the stand-in's ledger what that cost.
//!
//! ```text
//! start ─▶ some scrapes ─▶ break ─▶ wait ─▶ mend ─▶ all has arrived ─▶ stop ─▶ judge
//! ```
//!
//! `world` is the mesh, `views` and `proxy` decide who sees whom and who reaches
//! whom, `scenarios` break it, and `judge` reads a `record` of what happened.

mod audit;
mod clock;
mod day;
mod disk;
mod judge;
mod pod;
mod proxy;
mod pushes;
mod record;
mod scenario;
mod scenarios;
mod shape;
mod table;
mod views;
mod world;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use mesh_base::clock::Clock;
use tokio::time::{Instant, sleep};

use audit::Audit;
use judge::Judgement;
use pushes::Pushes;
use record::Record;
use scenario::Scenario;
use world::World;

use harness::cortex_server::Cortex;

/// Flags of the chaos.
#[derive(Clone, Debug, clap::Args)]
pub struct ChaosArgs {
    /// Run only some scenarios that take little time, one of each kind.
    #[arg(long, conflicts_with = "scenarios")]
    quick: bool,

    /// What is left to chance follows from it: victims, delays, orders. Printed with
    /// each result; by the clock where it is not given.
    #[arg(long)]
    seed: Option<u64>,

    /// Keep the services' logs of scenarios that fail, and say where.
    #[arg(long)]
    keep: bool,

    /// A Cortex that answers in the stand-in's place, one for each scenario; those that
    /// need the stand-in's own answers are left out. At the end it has to hold what it
    /// said that it holds.
    #[arg(long)]
    cortex: Option<PathBuf>,

    /// What to break, one after the other; everything where none is given.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

/// Scrapes of each target that are stored before something breaks, and after it.
const SCRAPES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);
/// How long a service may take to stop.
const DRAIN: Duration = Duration::from_secs(75);

/// Runs scenarios with `program` as the services, and prints a line of each.
///
/// # Errors
/// Where a part does not start, or a scenario cost what it must not cost.
pub async fn run(args: &ChaosArgs, program: &Path) -> anyhow::Result<()> {
    table::print_header();
    let mut failed = Vec::new();
    for scenario in args.scenarios() {
        let seed = args.seed.unwrap_or_else(by_the_clock);
        let name = scenario.name();
        let judgement = match scenario {
            Scenario::VirtualDay => day::play(seed).await,
            _ => play(scenario, program, seed, args).await,
        };
        let judgement = judgement.with_context(|| format!("{name} --seed={seed}"));
        let is_good = judgement.as_ref().is_ok_and(Judgement::is_good);
        match judgement {
            Ok(judgement) => table::print_line(&name, seed, &judgement),
            Err(error) => println!("{error:#}"),
        }
        if !is_good {
            failed.push(format!("{name} --seed={seed}"));
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Plays one scenario with a mesh of its own.
///
/// # Errors
/// Where a part does not start or stop, or nothing arrives before it breaks.
async fn play(
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
    let mut world = World::start(shape, program.to_owned(), seed).await?;
    let mut judgement = disturb(scenario, &mut world).await;
    if let (Some(cortex), Ok(judgement)) = (&cortex, &mut judgement) {
        let complaints = crate::cortex::audit::audit(cortex, world.amp.backend()).await?;
        judgement.complaints.extend(complaints);
    }
    if args.keep && !judgement.as_ref().is_ok_and(Judgement::is_good) {
        println!("logs: {}", world.keep().display());
    }
    judgement
}

/// Plays a scenario in a mesh that has just been started.
async fn disturb(scenario: Scenario, world: &mut World) -> anyhow::Result<Judgement> {
    let pushes = Pushes::start(world.gateways.address().to_string());
    let mut audit = Audit::default();
    world.mended();
    arrived(world, &mut audit).await?;
    scenario.play(world).await?;
    arrived(world, &mut audit).await?;
    let acknowledged = pushes.stop().await?;
    for pod in &mut world.pods {
        pod.note_memory();
    }
    audit.look(world).await;
    let stops = world.pods.iter_mut().filter(|pod| pod.is_sender());
    futures::future::try_join_all(stops.map(|pod| pod.stop())).await?;
    let mut record = Record::of(world, acknowledged, scenario.rules())?;
    record.complaints = audit.complaints();
    Ok(judge::judge(&record))
}

/// Waits until every target's samples have arrived since it was mended, and those of
/// before are delivered.
///
/// # Errors
/// Where that takes too long, with what has arrived.
async fn arrived(world: &World, audit: &mut Audit) -> anyhow::Result<()> {
    let (over_ms, flows) = (world.over_ms, world.flows());
    let backend = world.amp.backend();
    let started = Instant::now();
    while backend.read(|arrivals| judge::first(arrivals, over_ms).len() < flows) {
        if started.elapsed() > PATIENCE {
            let arrived = backend.read(|arrivals| format!("{:?}", judge::first(arrivals, over_ms)));
            bail!("of {flows} flows only these after {PATIENCE:?}: {arrived}");
        }
        audit.look(world).await;
        sleep(POLL).await;
    }
    // The backlogs of all lanes follow their first requests.
    sleep(world.shape.interval * SCRAPES).await;
    Ok(())
}

/// A seed that is another one each time.
fn by_the_clock() -> u64 {
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
