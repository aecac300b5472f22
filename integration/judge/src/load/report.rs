//! Output of a run: a line every few seconds, and a report at the end.

use std::time::Duration;

use super::{
    args::LoadArgs,
    delays::Delays,
    fleet::MAX_BYTES,
    judge::{Judgement, Run},
    ledger::Counts,
    usage::{ProcessUsage, STAND_IN, Trend, Usage},
};

/// Progress of a run.
pub(super) struct Progress<'a> {
    /// Time since the start.
    pub(super) elapsed: Duration,
    /// Scrapes served so far.
    pub(super) served: usize,
    /// Counts of the ledger so far.
    pub(super) counts: Counts,
    /// Delays of the samples stored since the last line.
    pub(super) delays: &'a Delays,
    /// CPU and memory of the processes.
    pub(super) usage: &'a Usage,
}

/// Cost of a run.
pub(super) struct Costs<'a> {
    /// Duration of the run.
    pub(super) duration: Duration,
    /// Samples per second that `--rate` asks for.
    pub(super) asked: f64,
    /// Samples per second that were scraped.
    pub(super) achieved: f64,
    /// Stored samples.
    pub(super) stored: u64,
    /// Delays of all samples.
    pub(super) delays: &'a Delays,
    /// CPU and memory of the processes.
    pub(super) usage: &'a Usage,
}

/// Shortest run in which memory growth is judged.
const MIN_JUDGED: Duration = Duration::from_secs(300);
/// Maximum growth of a service's median memory, as a share and in bytes. The first third of
/// a run fills the caches and does not count. The halves of the rest are compared.
const MAX_GROWTH: f64 = 0.03;
const MAX_GROWTH_BYTES: u64 = 4 << 20;

/// Prints the parameters of the run.
pub(super) fn print_header(args: &LoadArgs) {
    let who = format!(
        "{} receivers, {} exporters, a kill every {:?} (seed {}), {}",
        args.receivers,
        args.exporters,
        args.kill_every,
        args.seed,
        match args.spill_after() {
            Some(after) => format!("spilled after {after:?}"),
            None => "no disk".to_owned(),
        }
    );
    println!(
        "{} targets of {} series every {:?}, {who}",
        args.targets(),
        args.series(),
        args.interval,
    );
}

/// Prints the progress.
pub(super) fn print_progress(tick: &Progress<'_>) {
    let resident = |kind| {
        let processes = tick.usage.of(kind);
        let mebibytes = processes.map(|(_, process)| (process.resident() >> 20).to_string());
        mebibytes.collect::<Vec<_>>().join("/")
    };
    println!(
        "{:>5} s  scrapes {:>6}  stored {:>11}  delay p50 {:>5} ms p99 {:>6} ms  \
         disorder {} conflict {} dupl. {}  MiB receivers {} exporters {}  load {}",
        tick.elapsed.as_secs(),
        tick.served,
        tick.counts.stored,
        tick.delays.quantile(0.5),
        tick.delays.quantile(0.99),
        tick.counts.out_of_order,
        tick.counts.conflicting,
        tick.counts.duplicates,
        resident("receiver"),
        resident("exporter"),
        load_average(),
    );
}

/// Prints the report.
pub(super) fn print(run: &Run, judgement: &Judgement, costs: &Costs<'_>) {
    let counts = run.counts;
    println!(
        "\nscraped        {} samples in {} scrapes\nstored         {} samples in {} requests",
        run.served.len() * run.samples,
        run.served.len(),
        counts.stored,
        counts.requests
    );
    costs.print_flow();
    println!(
        "lost           {}\nout of order   {}\nconflicting    {}\nduplicates     {}\nmarkers        {}",
        judgement.lost, counts.out_of_order, counts.conflicting, counts.duplicates, counts.markers
    );
    println!(
        "died           {} samples in killed receivers, {} permitted; {} in flight at the end",
        judgement.died, judgement.may_have_died, judgement.in_flight
    );
    println!(
        "missed slots   {} by receivers that were down, {} by running ones",
        judgement.missed_down, judgement.missed_up
    );
    for (kill, recovery) in run.kills.iter().zip(&judgement.recoveries) {
        println!(
            "kill           {kill}; down for {} ms, effects for {} ms",
            kill.restarted_ms - kill.at_ms,
            recovery.as_millis()
        );
    }
    costs.print_processes();
    for violation in judgement.all_violations() {
        println!("FAILED: {violation}");
    }
    if judgement.passed() {
        println!("no law was broken");
    }
}

// === impl Costs ===

impl Costs<'_> {
    /// Describes a rate that is too low.
    pub(super) fn timing_violations(&self) -> Option<String> {
        let (achieved, asked) = (self.achieved, self.asked);
        let is_late = achieved < asked;
        is_late.then(|| format!("{achieved:.0} samples/s were scraped, expected {asked:.0}"))
    }

    /// Describes the services that use too much memory.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let services = ["receiver", "exporter"].map(|kind| self.usage.of(kind));
        for (name, process) in services.into_iter().flatten() {
            let peak = process.peak();
            if peak > MAX_BYTES {
                violations.push(format!("{name} used {} MiB", peak >> 20));
            }
            let growing = self.trend(process).filter(|trend| !trend.is_flat());
            if let Some(Trend { first, second }) = growing {
                let (first, second) = (first >> 20, second >> 20);
                violations.push(format!("{name} grew from {first} MiB to {second} MiB"));
            }
        }
        violations
    }

    /// Memory trend of a service. `None` if the run is too short or the service was killed.
    fn trend(&self, process: &ProcessUsage) -> Option<Trend> {
        (self.duration >= MIN_JUDGED).then(|| process.trend(self.duration / 3))?
    }

    fn print_flow(&self) {
        println!(
            "rate           {:.0} samples/s scraped, {:.0} asked for",
            self.achieved, self.asked
        );
        println!(
            "delay          p50 {} ms, p99 {} ms, longest {} ms",
            self.delays.quantile(0.5),
            self.delays.quantile(0.99),
            self.delays.quantile(1.0)
        );
    }

    fn print_processes(&self) {
        let millions = self.stored as f64 / 1e6;
        for (name, process) in self.usage.processes() {
            let trend = self.trend(process).map_or_else(String::new, |trend| {
                let (first, second) = (trend.first >> 20, trend.second >> 20);
                format!(", median {first} MiB, later {second} MiB")
            });
            println!(
                "{name:<14} {:>7.2} CPU s ({:.3} per million samples), peak {} MiB{trend}",
                process.cpu().as_secs_f64(),
                process.cpu().as_secs_f64() / millions,
                process.peak() >> 20,
            );
        }
        for kind in ["receiver", "exporter", "targets", STAND_IN] {
            let cpu: Duration = self.usage.of(kind).map(|(_, process)| process.cpu()).sum();
            if !cpu.is_zero() {
                let cost = cpu.as_secs_f64() / millions;
                println!("all {kind:<10} {cost:.3} CPU s per million samples");
            }
        }
        println!("load average   {}", load_average());
    }
}

// === impl Trend ===

impl Trend {
    fn is_flat(&self) -> bool {
        let most = (self.first as f64 * (1.0 + MAX_GROWTH)) as u64 + MAX_GROWTH_BYTES;
        self.second <= most
    }
}

/// Load average over one, five and fifteen minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
