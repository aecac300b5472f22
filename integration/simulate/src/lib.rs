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
mod day;
mod exporter;
mod judge;
mod net;
mod plan;
mod receiver;
mod story;
mod tap;
mod targets;
mod world;

use std::{
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{anyhow, ensure};
use mesh_service::telemetry::{FormatTime, Writer};

use judge::Record;
pub use judge::Verdict;
use plan::Plan;
use story::Story;

/// Flags of the simulation.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// The seeds to run, from the first to the last, as in 1..3000.
    #[arg(long, default_value = "1..1000")]
    seeds: Seeds,

    /// Run this seed only, and say what it is and what goes wrong in it.
    #[arg(long)]
    seed: Option<u64>,

    /// Tells the way of each scrape of this target, as in targets:9002.
    #[arg(long, requires = "seed")]
    follow: Option<String>,

    /// Simulations that run at once; as many as there are processors by default.
    #[arg(long)]
    jobs: Option<usize>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: mesh_service::telemetry::LogArgs,
}

/// Seeds from the first to the last.
#[derive(Clone, Debug)]
struct Seeds(RangeInclusive<u64>);

/// What clocks show that are right in the simulation of this thread, in milliseconds since
/// the Unix epoch, for log lines.
#[derive(Clone, Copy, Debug)]
pub struct Time;

impl FormatTime for Time {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", world::now_ms())
    }
}

/// Runs simulations and prints those that break a law.
///
/// # Errors
/// Where one does.
pub fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    match args.seed {
        Some(seed) => one(seed, args.follow.as_deref()),
        None => many(args),
    }
}

/// Simulates one seed, in a thread of its own: the random numbers of a thread
/// follow from the seed.
///
/// # Errors
/// Where a host fails by itself.
pub fn simulate(seed: u64) -> anyhow::Result<Verdict> {
    run_plan(Plan::of(seed))
}

/// Simulates a day of an HA pair that is scraped once a minute, with heartbeats and
/// something that goes wrong in each hour.
///
/// # Errors
/// Where a host fails by itself.
pub fn day(seed: u64) -> anyhow::Result<Verdict> {
    run_plan(day::plan(seed))
}

fn run_plan(plan: Plan) -> anyhow::Result<Verdict> {
    record(plan).map(|(_, verdict)| verdict)
}

fn record(plan: Plan) -> anyhow::Result<(Record, Verdict)> {
    let simulated = thread::spawn(move || {
        let folder = tempfile::tempdir()?;
        let record = world::run(plan, folder.path())?;
        let verdict = judge::judge(&record);
        Ok((record, verdict))
    });
    simulated.join().unwrap_or_else(|_| Err(anyhow!("a panic")))
}

fn one(seed: u64, followed: Option<&str>) -> anyhow::Result<()> {
    println!("{:#?}", Plan::of(seed));
    let (record, verdict) = record(Plan::of(seed))?;
    for life in &record.lives {
        println!("{life}");
    }
    if let Some(instance) = followed {
        print!("{}", Story::of(instance, &record));
    }
    println!("{verdict}");
    ensure!(verdict.is_good(), "{} laws broken", verdict.broken.len());
    Ok(())
}

fn many(args: &SimulateArgs) -> anyhow::Result<()> {
    let seeds = Mutex::new(args.seeds.0.clone());
    let sum = Mutex::new(Sum::default());
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(seed) = { lock(&seeds).next() } {
                    let outcome = simulate(seed);
                    lock(&sum).add(seed, outcome);
                }
            });
        }
    });
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{sum}");
    println!(
        "{:.0} seeds a minute in {jobs} threads",
        sum.seeds as f64 / minutes
    );
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
    /// Of all digests, in whatever order the simulations ended.
    digest: u64,
    bad: Vec<u64>,
}

// === impl Seeds ===

impl FromStr for Seeds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seeds = text
            .split_once("..")
            .and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
        seeds.map(Self).ok_or("expected FIRST..LAST, as in 1..3000")
    }
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
                self.digest ^= verdict.digest;
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
             their receiver, {} duplicates, flowing again after {} ms at the latest, digest \
             {:016x}",
            self.seeds,
            self.bad.len(),
            self.scrapes,
            self.unacquired,
            self.died,
            self.duplicates,
            self.slowest_ms,
            self.digest
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
