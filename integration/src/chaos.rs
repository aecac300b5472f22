//! `chaos`: breaks one part of a mesh of real processes at a time, mends it, and
//! judges from the stand-in's ledger what that cost.
//!
//! ```text
//! start ─▶ some scrapes ─▶ break ─▶ wait ─▶ mend ─▶ all has arrived ─▶ stop ─▶ judge
//! ```
//!
//! Members are listed with flags, so nobody takes over the target of a receiver that
//! was killed: its slots are missed until it is back.

mod judge;
mod pushes;
mod scenarios;

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, bail};
use mesh::clock::Clock;
use tokio::time::{Instant, sleep};

use crate::mesh::{Mesh, MeshOptions};

pub use judge::{Judgement, Run};
pub use pushes::Pushes;
pub use scenarios::Scenario;

/// Flags of the chaos.
#[derive(Clone, Debug, clap::Args)]
pub struct ChaosArgs {
    /// Run only the scenarios that take the least time.
    #[arg(long, conflicts_with = "scenarios")]
    quick: bool,

    /// What to break, one after the other; everything where none is given.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

const INTERVAL: Duration = Duration::from_secs(1);
/// Scrapes that are stored before something breaks, and again after it.
const SCRAPES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// Runs scenarios with `program` as the services, and prints a line of each.
///
/// # Errors
/// Where a part does not start, or a scenario cost what it must not cost.
pub async fn run(args: &ChaosArgs, program: &Path) -> anyhow::Result<()> {
    print_header();
    let mut failed = Vec::new();
    for scenario in args.scenarios() {
        let name = scenario.name();
        let judgement = play(scenario, program).await;
        let judgement = judgement.with_context(|| name.clone())?;
        print_line(&name, &judgement);
        if !judgement.is_good() {
            failed.push(name);
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
async fn play(scenario: Scenario, program: &Path) -> anyhow::Result<Judgement> {
    let mut mesh = Mesh::start(MeshOptions {
        program: program.to_owned(),
        scrape_interval: format!("{}s", INTERVAL.as_secs()),
        ..Default::default()
    })
    .await?;
    let pushes = Pushes::start(&mesh)?;
    let settled = wait(|| scrapes_since(&mesh, 0) >= 2 * SCRAPES).await;
    anyhow::ensure!(settled, "too few scrapes arrived within {PATIENCE:?}");
    let before = peak_memory(&mesh);
    scenario.begin(&mut mesh).await?;
    let died = if scenario == Scenario::KillReceiver {
        judge::missing(&mesh)
    } else {
        BTreeSet::new()
    };
    sleep(scenario.duration()).await;
    scenario.end(&mut mesh).await?;
    let mended_ms = Clock::system().now_ms();
    wait(|| has_recovered(&mesh, scenario, mended_ms, &died)).await;
    let peak_memory = before.max(peak_memory(&mesh));
    let acknowledged = pushes.stop().await?;
    mesh.stop_senders().await?;
    let run = Run {
        scenario,
        interval: INTERVAL,
        mended_ms,
        died,
        acknowledged,
        peak_memory,
    };
    judge::judge(&mesh, &run)
}

/// Whether lanes flow again and nothing waits but the newest scrapes.
fn has_recovered(mesh: &Mesh, scenario: Scenario, mended_ms: i64, died: &BTreeSet<usize>) -> bool {
    let arrivals = mesh.amp.backend().arrivals();
    let newest = mesh.sample_app.scrapes().saturating_sub(2);
    judge::recovery(&arrivals, scenario, mended_ms).is_some()
        && scrapes_since(mesh, mended_ms) >= 2 * SCRAPES
        && judge::missing(mesh)
            .difference(died)
            .all(|scrape| *scrape > newest)
}

/// How many scrapes of a time after this one have arrived.
fn scrapes_since(mesh: &Mesh, since_ms: i64) -> usize {
    let scrapes = crate::arrivals::scrapes(&mesh.amp.backend().arrivals());
    scrapes.iter().filter(|s| s.timestamp >= since_ms).count()
}

/// Waits until it is so, and says whether it became so in time.
async fn wait(is_so: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

fn peak_memory(mesh: &Mesh) -> u64 {
    let peaks = mesh.services().filter_map(|service| service.peak_memory());
    peaks.max().unwrap_or_default()
}

fn print_header() {
    println!(
        "{:<24} {:>6} {:>8} {:>8} {:>6} {:>8} {:>9} {:>7} {:>9} {:>9}",
        "scenario",
        "lost",
        "disorder",
        "conflict",
        "dupl.",
        "refused",
        "elections",
        "missed",
        "peak MiB",
        "recovery"
    );
}

fn print_line(name: &str, judgement: &Judgement) {
    let recovery = judgement.recovery.map_or_else(
        || "never".to_owned(),
        |recovery| format!("{:.1} s", recovery.as_secs_f64()),
    );
    println!(
        "{name:<24} {:>6} {:>8} {:>8} {:>6} {:>8} {:>9} {:>7} {:>9} {recovery:>9}  {}",
        judgement.lost,
        judgement.out_of_order,
        judgement.conflicting,
        judgement.duplicates,
        judgement.refused,
        judgement.elections,
        judgement.missed_slots,
        judgement.peak_memory >> 20,
        if judgement.is_good() { "ok" } else { "FAILED" }
    );
    for complaint in judgement.complaints.iter().take(20) {
        println!("  {complaint}");
    }
}

// === impl ChaosArgs ===

impl ChaosArgs {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.quick {
            Scenario::QUICK.to_vec()
        } else if self.scenarios.is_empty() {
            Scenario::all()
        } else {
            self.scenarios.clone()
        }
    }
}
