//! What a run prints: a line every few seconds, and what it cost at the end.

use std::time::Duration;

use super::{
    LoadArgs, STAND_IN,
    delays::Delays,
    fleet::MAX_BYTES,
    judge::{Judgement, Run},
    ledger::Counts,
    peer,
    watch::{Track, Trend, Watch},
};

/// What is known every few seconds.
pub(super) struct Tick<'a> {
    /// Since the start.
    pub(super) elapsed: Duration,
    /// Scrapes answered so far.
    pub(super) served: usize,
    /// What was stored and what was wrong so far.
    pub(super) counts: Counts,
    /// Of the samples stored since the last line.
    pub(super) delays: &'a Delays,
    /// What the processes cost.
    pub(super) watch: &'a Watch,
}

/// What the run cost the machine.
pub(super) struct Conditions<'a> {
    /// How long it was.
    pub(super) duration: Duration,
    /// Samples a second that were asked for.
    pub(super) asked: f64,
    /// Samples a second that were scraped.
    pub(super) achieved: f64,
    /// Samples that were stored.
    pub(super) stored: u64,
    /// Of all samples.
    pub(super) delays: &'a Delays,
    /// What the processes cost.
    pub(super) watch: &'a Watch,
}

/// Whether memory is flat is judged in runs of this length.
const MIN_JUDGED: Duration = Duration::from_secs(300);
/// In the first third of a run caches fill. From the first half of what follows to the
/// second a median may grow by this share, and by this many bytes.
const MAX_GROWTH: f64 = 0.03;
const MAX_GROWTH_BYTES: u64 = 4 << 20;

/// Says what is run.
pub(super) fn print_header(args: &LoadArgs) {
    let who = match &args.peer {
        Some(program) => program.display().to_string(),
        None => format!(
            "{} receivers, {} exporters, a kill every {:?} (seed {}), {}",
            args.receivers,
            args.exporters,
            args.kill_every,
            args.seed,
            match args.spill_after() {
                Some(after) => format!("spilled after {after:?}"),
                None => "no disk".to_owned(),
            }
        ),
    };
    println!(
        "{} targets of {} series every {:?}, {who}",
        args.targets(),
        args.series(),
        args.interval,
    );
}

/// Prints what is known now.
pub(super) fn print_tick(tick: &Tick<'_>) {
    let resident = |kind| {
        let tracks = tick.watch.of(kind);
        let mebibytes = tracks.map(|(_, track)| (track.resident() >> 20).to_string());
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

/// Prints what the run cost.
pub(super) fn print(run: &Run, judgement: &Judgement, conditions: &Conditions<'_>) {
    let counts = run.counts;
    println!(
        "\nscraped        {} samples in {} scrapes\nstored         {} samples in {} requests",
        run.served.len() * run.samples,
        run.served.len(),
        counts.stored,
        counts.requests
    );
    conditions.print_flow();
    println!(
        "lost           {}\nout of order   {}\nconflicting    {}\nduplicates     {}\nmarkers        {}",
        judgement.lost, counts.out_of_order, counts.conflicting, counts.duplicates, counts.markers
    );
    println!(
        "died           {} samples with killed receivers, of {} that may have; {} under way at the end",
        judgement.died, judgement.may_have_died, judgement.under_way
    );
    println!(
        "missed slots   {} of receivers that were down, {} of others",
        judgement.missed_down, judgement.missed_up
    );
    for (kill, recovery) in run.kills.iter().zip(&judgement.recoveries) {
        println!(
            "kill           {kill}; away for {} ms, felt for {} ms",
            kill.back_ms - kill.at_ms,
            recovery.as_millis()
        );
    }
    conditions.print_processes();
    for complaint in judgement.complaints.iter().chain(&judgement.late) {
        println!("FAILED: {complaint}");
    }
    if judgement.is_good() {
        println!("no law was broken");
    }
}

/// Prints what a run cost that is not judged.
pub(super) fn print_cost(conditions: &Conditions<'_>) {
    println!("\nstored         {} samples", conditions.stored);
    conditions.print_flow();
    conditions.print_processes();
}

// === impl Conditions ===

impl Conditions<'_> {
    /// What is wrong with the rate.
    pub(super) fn late(&self) -> Option<String> {
        let (achieved, asked) = (self.achieved, self.asked);
        let is_late = achieved < asked;
        is_late.then(|| format!("{achieved:.0} samples/s of {asked:.0} were scraped"))
    }

    /// What is wrong with the memory.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let services = ["receiver", "exporter"].map(|kind| self.watch.of(kind));
        for (name, track) in services.into_iter().flatten() {
            let peak = track.peak();
            if peak > MAX_BYTES {
                complaints.push(format!("{name} had {} MiB", peak >> 20));
            }
            let growing = self.trend(track).filter(|trend| !trend.is_flat());
            if let Some(Trend { first, second }) = growing {
                let (first, second) = (first >> 20, second >> 20);
                complaints.push(format!("{name} grew from {first} MiB to {second} MiB"));
            }
        }
        complaints
    }

    /// How the memory of a service went; `None` where the run is too short to tell, or
    /// the service was killed.
    fn trend(&self, track: &Track) -> Option<Trend> {
        (self.duration >= MIN_JUDGED).then(|| track.trend(self.duration / 3))?
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
        for (name, track) in self.watch.tracks() {
            let trend = self.trend(track).map_or_else(String::new, |trend| {
                let (first, second) = (trend.first >> 20, trend.second >> 20);
                format!(", median {first} MiB and later {second} MiB")
            });
            println!(
                "{name:<14} {:>7.2} CPU s ({:.3} a million samples), peak {} MiB{trend}",
                track.cpu().as_secs_f64(),
                track.cpu().as_secs_f64() / millions,
                track.peak() >> 20,
            );
        }
        for kind in ["receiver", "exporter", peer::NAME, "targets", STAND_IN] {
            let cpu: Duration = self.watch.of(kind).map(|(_, track)| track.cpu()).sum();
            if !cpu.is_zero() {
                let cost = cpu.as_secs_f64() / millions;
                println!("all {kind:<10} {cost:.3} CPU s a million samples");
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

/// The machine's, over one, five and fifteen minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
