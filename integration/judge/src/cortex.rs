//! `cortex`: runs a mesh against a real Cortex, the open-source code that AMP is derived
//! from, with its HA tracker and AMP's limits.
//!
//! ```text
//! targets ─▶ mesh ─▶ stand-in with a ledger ─▶ Cortex
//! ```
//!
//! The stand-in forwards every request and response. At the end, the ledger is compared
//! with all samples that Cortex stores, by remote read, and with its counters.
//! `docs/cortex.md` says how to get a Cortex.

mod faults;
mod judgement;
mod native;
mod scenario;
mod testbed;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use judgement::Judgement;
pub use scenario::Scenario;
use testbed::Testbed;

/// Flags of `cortex`.
#[derive(Clone, Debug, clap::Args)]
pub struct CortexArgs {
    /// Path of Cortex.
    #[arg(long, default_value = "cortex")]
    cortex: PathBuf,

    /// Scenarios to run, in this order. The default is all of them.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

/// Runs scenarios and prints one line for each. `program` is the executable whose
/// subcommands run the services.
///
/// # Errors
/// Returns an error if a process does not start or a scenario breaks a law.
pub async fn run(args: &CortexArgs, program: &Path) -> anyhow::Result<()> {
    println!(
        "{:<16} {:>8} {:>9} {:>9} {:>6} {:>8} {:>9}",
        "scenario", "scrapes", "stored", "dedupl.", "dupl.", "refused", "elections"
    );
    let mut failed = Vec::new();
    for scenario in args.scenarios() {
        let judgement = run_scenario(scenario, args, program).await;
        let judgement = judgement.with_context(|| scenario.name())?;
        print_line(&scenario.name(), &judgement);
        if !judgement.violations.is_empty() {
            failed.push(scenario.name());
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs one scenario with a new mesh and a new Cortex.
async fn run_scenario(
    scenario: Scenario,
    args: &CortexArgs,
    program: &Path,
) -> anyhow::Result<Judgement> {
    let mut testbed = Testbed::start(&args.cortex, program, scenario.max_series()).await?;
    testbed.wait_until_settled().await?;
    testbed.run(scenario).await?;
    testbed.wait_until_settled().await?;
    testbed.stop_and_judge(scenario).await
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
        if judgement.violations.is_empty() {
            "ok"
        } else {
            "FAILED"
        }
    );
    for violation in judgement.violations.iter().take(20) {
        println!("  {violation}");
    }
}

// === impl CortexArgs ===

impl CortexArgs {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            Scenario::all()
        } else {
            self.scenarios.clone()
        }
    }
}
