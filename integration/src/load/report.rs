//! What a run prints: a line every few seconds, and what it cost at the end.

use std::time::Duration;

use super::{
    LoadArgs, STAND_IN,
    delays::Delays,
    judge::{Judgement, Run},
    ledger::Counts,
    watch::{Track, Watch},
};

/// What is known every few seconds.
pub(super) struct Tick<'a> {
    /// Since the start.
    pub(super) elapsed: Duration,
    /// Scrapes answered so far.
    pub(super) served: usize,
    /// Samples stored so far.
    pub(super) stored: u64,
    /// What was wrong so far.
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
    /// Of all samples.
    pub(super) delays: &'a Delays,
    /// What the processes cost.
    pub(super) watch: &'a Watch,
}

/// Memory is judged in runs of this length.
const MIN_JUDGED: Duration = Duration::from_secs(600);
/// Of its mean after the warm-up, the first fifth of a run, a service that lives as
/// long as the run may grow by this share.
const MAX_GROWTH: f64 = 0.1;
/// The services that are never killed.
const SPARED: [&str; 2] = ["receiver-0", "exporter-0"];

/// Says what is run.
pub(super) fn print_header(args: &LoadArgs) {
    println!(
        "{} targets of {} series every {:?}, {} receivers, {} exporters, a kill every {:?} (seed {})",
        args.targets(),
        args.series(),
        args.interval,
        args.receivers,
        args.exporters,
        args.kill_every,
        args.seed,
    );
}

/// Prints what is known now.
pub(super) fn print_tick(tick: &Tick<'_>) {
    let resident = |kind| {
        let tracks = tick.watch.of(kind);
        let mebibytes = tracks.map(|track| (track.resident() >> 20).to_string());
        mebibytes.collect::<Vec<_>>().join("/")
    };
    println!(
        "{:>5} s  scrapes {:>6}  stored {:>11} ({:>7.0}/s)  delay p50 {:>5} ms p99 {:>6} ms  \
         disorder {} conflict {} dupl. {}  MiB receivers {} exporters {}  load {}",
        tick.elapsed.as_secs(),
        tick.served,
        tick.stored,
        tick.stored as f64 / tick.elapsed.as_secs_f64(),
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
    println!(
        "delay          p50 {} ms, p99 {} ms, longest {} ms",
        conditions.delays.quantile(0.5),
        conditions.delays.quantile(0.99),
        conditions.delays.quantile(1.0)
    );
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
            "kill           {} was away for {} ms, felt for {} ms",
            kill.victim,
            kill.until_ms - kill.at_ms,
            recovery.as_millis()
        );
    }
    conditions.print_processes(counts.stored);
    println!("load average   {}", load_average());
    for complaint in &judgement.complaints {
        println!("FAILED: {complaint}");
    }
    if judgement.is_good() {
        println!("no law was broken");
    }
}

// === impl Conditions ===

impl Conditions<'_> {
    /// Services whose memory is not flat. A run too short to tell has none.
    pub(super) fn memory_complaints(&self) -> Vec<String> {
        if self.duration < MIN_JUDGED {
            return Vec::new();
        }
        let spared = SPARED.iter().filter_map(|name| {
            let trend = self.watch.tracks().get(*name)?.trend(self.warm_up())?;
            let share = trend.growth / trend.mean;
            let percent = share * 100.0;
            (share > MAX_GROWTH).then(|| format!("the memory of {name} grew by {percent:.1} %"))
        });
        spared.collect()
    }

    fn warm_up(&self) -> Duration {
        self.duration / 5
    }

    fn print_processes(&self, stored: u64) {
        let millions = stored as f64 / 1e6;
        for (name, track) in self.watch.tracks() {
            println!(
                "{name:<14} {:>7.2} CPU s ({:.3} a million samples), peak {} MiB{}",
                track.cpu().as_secs_f64(),
                track.cpu().as_secs_f64() / millions,
                track.peak() >> 20,
                self.trend(track)
            );
        }
        for kind in ["receiver", "exporter", "targets", STAND_IN] {
            let cpu: Duration = self.watch.of(kind).map(Track::cpu).sum();
            let cost = cpu.as_secs_f64() / millions;
            println!("all {kind:<10} {cost:.3} CPU s a million samples");
        }
    }

    fn trend(&self, track: &Track) -> String {
        track
            .trend(self.warm_up())
            .map_or_else(String::new, |trend| {
                format!(
                    ", mean {:.0} MiB, trend {:+.1} MiB",
                    trend.mean / f64::from(1 << 20),
                    trend.growth / f64::from(1 << 20)
                )
            })
    }
}

/// The machine's, over one, five and fifteen minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
