//! `cortex`: the mesh before a real Cortex, the open code that AMP grew from, with its
//! HA tracker and the limits of AMP.
//!
//! ```text
//! targets ─▶ mesh ─▶ stand-in, which notes ─▶ Cortex, which answers
//! ```
//!
//! The stand-in passes every request and every answer on and judges as it goes; at the
//! end Cortex is asked for all it holds, by remote read, and for what it has counted.
//! docs/cortex.md says how to get a Cortex.

pub(crate) mod audit;
mod native;
mod scenario;
mod stage;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub use scenario::Scenario;
use stage::Stage;

/// Flags of the command.
#[derive(Clone, Debug, clap::Args)]
pub struct CortexArgs {
    /// The Cortex.
    #[arg(long, default_value = "cortex")]
    cortex: PathBuf,

    /// What happens, one after the other; everything where none is given.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

/// What was wrong, and what there was of it.
#[derive(Clone, Debug, Default)]
struct Judgement {
    scrapes: usize,
    samples: u64,
    deduplicated: u64,
    duplicates: u64,
    refused: u64,
    elections: u64,
    complaints: Vec<String>,
}

/// Plays scenarios with `program` as the services, and prints a line of each.
///
/// # Errors
/// Where a part does not start, or something was not as it must be.
pub async fn run(args: &CortexArgs, program: &Path) -> anyhow::Result<()> {
    println!(
        "{:<16} {:>8} {:>9} {:>9} {:>6} {:>8} {:>9}",
        "scenario", "scrapes", "stored", "dedupl.", "dupl.", "refused", "elections"
    );
    let mut failed = Vec::new();
    for scenario in args.scenarios() {
        let judgement = play(scenario, args, program).await;
        let judgement = judgement.with_context(|| scenario.name())?;
        print_line(&scenario.name(), &judgement);
        if !judgement.complaints.is_empty() {
            failed.push(scenario.name());
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Plays one scenario, with a mesh and a Cortex of its own.
async fn play(scenario: Scenario, args: &CortexArgs, program: &Path) -> anyhow::Result<Judgement> {
    let mut stage = Stage::start(&args.cortex, program, scenario.max_series()).await?;
    stage.settle().await?;
    scenario.play(&mut stage).await?;
    stage.settle().await?;
    stage.end(scenario).await
}

fn print_line(name: &str, judgement: &Judgement) {
    println!(
        "{name:<16} {:>8} {:>9} {:>9} {:>6} {:>8} {:>9}  {}",
        judgement.scrapes,
        judgement.samples,
        judgement.deduplicated,
        judgement.duplicates,
        judgement.refused,
        judgement.elections,
        match judgement.complaints.is_empty() {
            true => "ok",
            false => "FAILED",
        }
    );
    for complaint in judgement.complaints.iter().take(20) {
        println!("  {complaint}");
    }
}

// === impl CortexArgs ===

impl CortexArgs {
    fn scenarios(&self) -> Vec<Scenario> {
        match self.scenarios.is_empty() {
            true => Scenario::all(),
            false => self.scenarios.clone(),
        }
    }
}
