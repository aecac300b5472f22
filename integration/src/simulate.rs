//! `simulate`: the mesh in a deterministic simulation.
//!
//! Real receivers, outboxes, balancers and exporters run over a simulated network
//! and simulated time against the stand-in, in one thread. A seed decides the
//! shape of the mesh, what goes wrong and when, and each delay; so a run that
//! breaks a law can be repeated by its seed.
//!
//! ```text
//! targets ─▶ receivers ─▶ exporters ─▶ backend       hosts of the simulation
//!              ▲   crashes, cuts, delays, faults  ▲
//!              └────────────── plan ──────────────┘  ─▶ judge
//! ```

mod backend;
mod exporter;
mod judge;
mod net;
mod plan;
mod receiver;
mod targets;
mod world;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{anyhow, ensure};

pub use judge::Verdict;
use plan::Plan;

/// Flags of the simulation.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,

    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,

    /// Run this seed only, twice, and say what goes wrong in it.
    #[arg(long)]
    seed: Option<u64>,

    /// Simulations that run at once; as many as there are processors by default.
    #[arg(long)]
    jobs: Option<usize>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: mesh::telemetry::LogArgs,
}

/// Runs simulations and prints those that break a law.
///
/// # Errors
/// Where one does, or where a seed cannot be repeated.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    match args.seed {
        Some(seed) => repeat(seed),
        None => many(args),
    }
}

/// Simulates one seed, in a thread of its own: the random numbers of a thread
/// follow from the seed.
///
/// # Errors
/// Where a host fails by itself.
pub fn simulate(seed: u64) -> anyhow::Result<Verdict> {
    let simulated = thread::spawn(move || {
        let folder = tempfile::tempdir()?;
        let run = world::run(Plan::of(seed), folder.path())?;
        Ok(judge::judge(&run))
    });
    simulated.join().unwrap_or_else(|_| Err(anyhow!("a panic")))
}

fn repeat(seed: u64) -> anyhow::Result<()> {
    let plan = Plan::of(seed);
    println!("{:#?}", plan);
    let (one, other) = (simulate(seed)?, simulate(seed)?);
    println!("{one}");
    ensure!(
        one.digest == other.digest,
        "seed {seed} cannot be repeated: {other}"
    );
    ensure!(one.is_good(), "{} laws broken", one.broken.len());
    Ok(())
}

fn many(args: &SimulateArgs) -> anyhow::Result<()> {
    let next = AtomicU64::new(args.first);
    let end = args.first.saturating_add(args.seeds);
    let sum = Mutex::new(Sum::default());
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = simulate(seed);
                    sum.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(seed, outcome);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{sum}");
    ensure!(sum.bad.is_empty(), "seeds that break a law: {:?}", sum.bad);
    Ok(())
}

/// What many simulations came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    scrapes: usize,
    unacquired: usize,
    died: u64,
    duplicates: u64,
    slowest_ms: i64,
    bad: Vec<u64>,
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, seed: u64, outcome: anyhow::Result<Verdict>) {
        self.seeds += 1;
        match outcome {
            Ok(verdict) => {
                if !verdict.is_good() {
                    println!("{verdict}");
                    self.bad.push(seed);
                }
                self.scrapes += verdict.scrapes;
                self.unacquired += verdict.unacquired;
                self.died += verdict.died;
                self.duplicates += verdict.duplicates;
                self.slowest_ms = self.slowest_ms.max(verdict.recovery_ms);
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                self.bad.push(seed);
            }
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} seeds, {} of them break a law: {} scrapes, {} not acquired, {} samples died with \
             their receiver, {} duplicates, flowing again after {} ms at the latest",
            self.seeds,
            self.bad.len(),
            self.scrapes,
            self.unacquired,
            self.died,
            self.duplicates,
            self.slowest_ms
        )
    }
}
