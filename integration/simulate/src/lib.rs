//! `simulate`: a whole mesh in a deterministic simulation, with faults.
//!
//! receiver-svc and exporter-svc run as they are shipped, over a simulated network and in
//! simulated time, against the AMP stand-in. Everything runs on one thread. A seed determines the
//! shape of the mesh, the faults and each delay, so a run that breaks a law can be repeated.
//!
//! ```text
//! targets ─▶ receivers ─▶ exporters ─▶ backend       hosts of the simulation
//!              ▲  crashes, partitions, faults  ▲
//!              └───────────── plan ────────────┘  ─▶ record ─▶ judge ─▶ report
//! ```

mod backend;
mod clock;
mod exporter;
mod exports;
mod history;
mod judge;
mod net;
mod plan;
mod processes;
mod receiver;
mod record;
mod simulation;
mod targets;

use std::{fmt, ops::RangeInclusive, str::FromStr, thread, time::Instant};

use anyhow::{anyhow, ensure};
use parking_lot::Mutex;

pub use clock::Time;
use history::TargetHistory;
pub use judge::Report;
use plan::Plan;
use record::Record;

/// Flags of the simulation.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Seeds to run: FIRST..LAST, both included. Example: 1..3000.
    #[arg(long, default_value = "1..1000")]
    seeds: Seeds,

    /// Run only this seed, and print its plan and its processes.
    #[arg(long)]
    seed: Option<u64>,

    /// Print the history of this target's scrapes. Example: targets:9002.
    #[arg(long, requires = "seed")]
    follow: Option<String>,

    /// Number of concurrent simulations. Default: the number of processors.
    #[arg(long)]
    jobs: Option<usize>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: mesh_service::telemetry::LogArgs,
}

/// Inclusive range of seeds.
#[derive(Clone, Debug)]
struct Seeds(RangeInclusive<u64>);

/// Runs simulations and prints the reports of those that break a law.
///
/// # Errors
/// Returns an error if a simulation breaks a law or a service fails.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    match args.seed {
        Some(seed) => run_one(seed, args.follow.as_deref()),
        None => run_many(args),
    }
}

/// Simulates one seed.
///
/// # Errors
/// Returns an error if a service fails.
pub fn simulate(seed: u64) -> anyhow::Result<Report> {
    judged(Plan::draw(seed)).map(|(_, report)| report)
}

/// Simulates a day of an HA pair with a scrape interval of one minute, heartbeats, and one fault
/// in each hour.
///
/// # Errors
/// Returns an error if a service fails.
pub fn simulate_day(seed: u64) -> anyhow::Result<Report> {
    judged(Plan::draw_day(seed)).map(|(_, report)| report)
}

/// Runs and judges a plan on a thread of its own, since the generator of random numbers is
/// seeded per thread.
fn judged(plan: Plan) -> anyhow::Result<(Vec<Record>, Report)> {
    let simulated = thread::spawn(move || {
        let folder = tempfile::tempdir()?;
        let records = simulation::run(plan, folder.path())?;
        let report = judge::judge(&records);
        Ok((records, report))
    });
    simulated
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the simulation panicked")))
}

fn run_one(seed: u64, followed: Option<&str>) -> anyhow::Result<()> {
    println!("{:#?}", Plan::draw(seed));
    let (records, report) = judged(Plan::draw(seed))?;
    for record in &records {
        println!("destination {}", record.destination);
        for process in &record.processes {
            println!("{process}");
        }
        if let Some(instance) = followed {
            print!("{}", TargetHistory::new(instance, record));
        }
    }
    println!("{report}");
    ensure!(report.passed(), "{} laws broken", report.violations.len());
    Ok(())
}

fn run_many(args: &SimulateArgs) -> anyhow::Result<()> {
    let seeds = Mutex::new(args.seeds.0.clone());
    let summary = Mutex::new(Summary::default());
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(seed) = { seeds.lock().next() } {
                    let outcome = simulate(seed);
                    summary.lock().add(seed, outcome);
                }
            });
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let summary = summary.into_inner();
    println!("{summary}");
    println!(
        "{:.0} seeds per minute in {jobs} threads",
        summary.seeds as f64 / minutes
    );
    ensure!(
        summary.failed.is_empty(),
        "seeds that break a law: {:?}; run one with --seed=N",
        summary.failed
    );
    Ok(())
}

/// Totals of many simulations.
#[derive(Debug, Default)]
struct Summary {
    seeds: u64,
    scrapes: usize,
    aborted: usize,
    lost_in_memory: u64,
    duplicates: u64,
    slowest_recovery_ms: i64,
    /// XOR of all digests. It does not depend on the order in which simulations end.
    digest: u64,
    failed: Vec<u64>,
}

// === impl Seeds ===

impl FromStr for Seeds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seeds = text
            .split_once("..")
            .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
        seeds
            .map(Self)
            .ok_or("expected FIRST..LAST, for example 1..3000")
    }
}

// === impl Summary ===

impl Summary {
    fn add(&mut self, seed: u64, outcome: anyhow::Result<Report>) {
        self.seeds += 1;
        match outcome {
            Ok(report) => {
                if !report.passed() {
                    println!("{report}");
                    self.failed.push(seed);
                }
                self.scrapes += report.scrapes;
                self.aborted += report.aborted;
                self.lost_in_memory += report.lost_in_memory;
                self.duplicates += report.duplicates;
                self.slowest_recovery_ms = self.slowest_recovery_ms.max(report.recovery_ms);
                self.digest ^= report.digest;
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                self.failed.push(seed);
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} seeds, {} failed: {} scrapes, {} aborted, {} samples lost in the memory of killed \
             receivers, {} duplicates, slowest recovery {} ms, digest {:016x}",
            self.seeds,
            self.failed.len(),
            self.scrapes,
            self.aborted,
            self.lost_in_memory,
            self.duplicates,
            self.slowest_recovery_ms,
            self.digest
        )
    }
}
