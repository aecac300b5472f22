//! Measures scraping: targets, a receiver and an exporter or another agent, and a sink.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use mesh_model::{config::duration, flags};
use tokio::time::{Instant, sleep};

use super::{
    bodies::{Body, Shape},
    figures::{self, Figures, median},
    peer::PeerProgram,
    sink::Sink,
    system::{Candidate, Settings, System, Usage},
    targets::Targets,
    workload::Workload,
};
use crate::cpu;

/// Flags of measurements of scraping.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ScrapeArgs {
    /// Shapes of the bodies.
    #[arg(long, value_delimiter = ',', default_values = ["histograms"])]
    shape: Vec<Shape>,

    /// Folder with recorded bodies: one folder for each exporter, with a file 1.text.body.
    #[arg(long, default_value = "../shared/suites/bodies")]
    bodies: PathBuf,

    /// Measured time, in place of that of the workload.
    #[arg(long, value_parser = flags::seconds)]
    time: Option<Duration>,

    /// Time until the backend answers.
    #[arg(long, value_parser = flags::seconds, default_value = "50ms")]
    latency: Duration,

    /// Other agents to measure in turn: vmagent=PATH, prometheus=PATH or collector=PATH.
    #[arg(long)]
    peer: Vec<PeerProgram>,

    /// Binary `integration` of another build to measure in turn.
    #[arg(long)]
    against: Option<PathBuf>,

    /// Number of rounds. Each measures all candidates; ratios are of one round.
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// Core of the measured processes. Targets and sink use the others.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// Maximum time of the first scrapes, in addition to two intervals.
const COLD_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Share of the measured core that other programs may use before a warning.
const MAX_FOREIGN_SHARE: f64 = 0.1;

/// Runs all workloads with all shapes and candidates, and prints a table.
///
/// # Errors
/// Returns an error if a process does not start or ends, or if no sample arrives.
pub(super) async fn run(
    args: &ScrapeArgs,
    workloads: &[Workload],
    program: &Path,
) -> anyhow::Result<()> {
    let mut candidates = vec![("promesh", Candidate::Promesh(program))];
    candidates.extend(
        args.against
            .iter()
            .map(|path| ("against", Candidate::Promesh(path))),
    );
    let peers = args.peer.iter();
    candidates.extend(peers.map(|peer| (peer.kind.name(), Candidate::Peer(peer))));
    println!("{}", figures::HEADER);
    for workload in workloads {
        let shapes = match workload.is_recorded {
            true => &[Shape::Recorded][..],
            false => &args.shape,
        };
        for shape in shapes {
            let name = format!("{} {shape:?}", workload.name).to_lowercase();
            let mut costs: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
            for _ in 0..args.rounds {
                for (costs, (candidate, what)) in costs.iter_mut().zip(&candidates) {
                    let figures = measure(args, workload, *shape, *what).await?;
                    println!("{}", figures.row(&name, candidate));
                    costs.push(figures.cost());
                }
            }
            print_ratios(&name, &candidates, &costs);
        }
    }
    Ok(())
}

/// Prints the medians of the paired ratios to the first candidate.
fn print_ratios(name: &str, candidates: &[(&str, Candidate<'_>)], costs: &[Vec<f64>]) {
    let Some((own, others)) = costs.split_first() else {
        return;
    };
    for ((candidate, _), other) in candidates.iter().skip(1).zip(others) {
        let ratios = own.iter().zip(other).map(|(own, other)| other / own);
        println!(
            "{name}: {candidate} costs {:.2} times promesh",
            median(ratios.collect())
        );
    }
}

async fn measure(
    args: &ScrapeArgs,
    workload: &Workload,
    shape: Shape,
    candidate: Candidate<'_>,
) -> anyhow::Result<Figures> {
    let bodies = match Body::generate(shape, workload.series) {
        Some(body) => vec![body],
        None => Body::recorded(&args.bodies)?,
    };
    let targets = Targets::start(workload.targets, bodies).await?;
    let sink = Sink::start(args.latency).await?;
    let settings = Settings {
        interval: &duration::format(workload.interval),
        jobs: &targets.job(),
        url: &sink.url(),
        core: args.core,
    };
    let system = System::start(candidate, settings).await?;
    await_first_scrapes(workload, &targets, &sink).await?;
    let cold_cpu = system.usage()?.iter().map(|usage| usage.cpu).sum();
    let cold_samples = sink.samples();
    sleep(workload.interval * workload.settling).await;

    let time = args.time.unwrap_or(workload.interval * workload.measured);
    let (began, before) = (Instant::now(), Snapshot::take(&system, &targets, &sink)?);
    sleep(time).await;
    let (elapsed, after) = (began.elapsed(), Snapshot::take(&system, &targets, &sink)?);
    system.stop().await?;

    let figures = after.since(before, elapsed);
    ensure!(
        sink.malformed() == 0,
        "{} malformed posts",
        sink.malformed()
    );
    Ok(Figures {
        cold_cpu,
        cold_samples,
        series: targets.series(),
        ..figures
    })
}

/// Waits until a scrape of each target is stored.
async fn await_first_scrapes(
    workload: &Workload,
    targets: &Targets,
    sink: &Sink,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + COLD_TIMEOUT + 2 * workload.interval;
    while targets.fewest_scrapes() == 0 || sink.samples() < targets.series() as u64 {
        ensure!(
            Instant::now() < deadline,
            "after {:?}, {} scrapes were served and {} samples stored, expected {} targets and {} samples",
            COLD_TIMEOUT + 2 * workload.interval,
            targets.scrapes(),
            sink.samples(),
            workload.targets,
            targets.series(),
        );
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// All counts at one time.
struct Snapshot {
    usage: Vec<Usage>,
    samples: u64,
    served: u64,
    scrapes: u64,
    posts: u64,
    bytes: u64,
    delays: Vec<u64>,
    /// CPU time of all programs on the machine, and of this one and its children.
    machine: Duration,
    own: Duration,
}

// === impl Snapshot ===

impl Snapshot {
    fn take(system: &System, targets: &Targets, sink: &Sink) -> anyhow::Result<Self> {
        Ok(Self {
            usage: system.usage()?,
            samples: sink.samples(),
            served: targets.samples(),
            scrapes: targets.scrapes(),
            posts: sink.posts(),
            bytes: sink.bytes(),
            delays: sink.delays(),
            machine: cpu::of_machine()?,
            own: cpu::of_this_tree()?,
        })
    }

    /// Figures of the time since `before`. Warns if other programs used the machine.
    fn since(self, before: Self, elapsed: Duration) -> Figures {
        let machine = self.machine.saturating_sub(before.machine);
        let foreign = machine.saturating_sub(self.own.saturating_sub(before.own));
        let share = foreign.as_secs_f64() / elapsed.as_secs_f64();
        if share > MAX_FOREIGN_SHARE {
            println!(
                "warning: other programs used {:.0} % of a core",
                share * 100.0
            );
        }
        let usage = self.usage.iter().zip(&before.usage);
        let delays = self.delays.iter().zip(&before.delays);
        Figures {
            usage: usage
                .map(|(after, before)| Usage {
                    cpu: after.cpu - before.cpu,
                    ..*after
                })
                .collect(),
            cold_cpu: Duration::ZERO,
            cold_samples: 0,
            samples: self.samples - before.samples,
            served: self.served - before.served,
            scrapes: self.scrapes - before.scrapes,
            series: 0,
            elapsed,
            posts: self.posts - before.posts,
            bytes: self.bytes - before.bytes,
            delays: delays.map(|(after, before)| after - before).collect(),
        }
    }
}
