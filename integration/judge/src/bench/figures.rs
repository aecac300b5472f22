//! Figures of one run, and the table of all runs.

use std::time::Duration;

use super::system::Usage;

/// Figures of one run of one candidate.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Usage of each process during the measured time.
    pub(super) usage: Vec<Usage>,
    /// CPU time until every target's first scrape was stored.
    pub(super) cold_cpu: Duration,
    /// Samples that were stored until then.
    pub(super) cold_samples: u64,
    /// Samples that were stored during the measured time.
    pub(super) samples: u64,
    /// Samples that the targets served during the measured time.
    pub(super) served: u64,
    pub(super) scrapes: u64,
    pub(super) series: usize,
    pub(super) elapsed: Duration,
    pub(super) posts: u64,
    /// Bytes of all posts.
    pub(super) bytes: u64,
    /// Number of samples by delay in milliseconds.
    pub(super) delays: Vec<u64>,
}

pub(super) const HEADER: &str = "\
| workload | candidate | samples/s | stored | CPU s per million samples | by process | CPU ms per scrape | cold CPU s per million | resident MiB | peak MiB | bytes per series | delay p50, p99 | bytes per sample | posts/s |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

// === impl Figures ===

impl Figures {
    /// CPU seconds per million stored samples.
    pub(super) fn cost(&self) -> f64 {
        let cpu: Duration = self.usage.iter().map(|usage| usage.cpu).sum();
        per_million(cpu, self.samples)
    }

    /// A row of the table.
    pub(super) fn row(&self, workload: &str, candidate: &str) -> String {
        let cpu: Duration = self.usage.iter().map(|usage| usage.cpu).sum();
        let each = |value: fn(&Usage) -> String| {
            let values: Vec<_> = self.usage.iter().map(value).collect();
            values.join(" + ")
        };
        let by_process: Vec<_> = self
            .usage
            .iter()
            .map(|usage| format!("{:.2}", per_million(usage.cpu, self.samples)))
            .collect();
        let resident = self.usage.first().map_or(0, |usage| usage.resident);
        let seconds = self.elapsed.as_secs_f64();
        format!(
            "| {workload} | {candidate} | {:.0} | {:.1} % | {:.2} | {} | {:.3} | {:.2} | {} | {} | {:.0} | {}, {} ms | {:.1} | {:.1} |",
            self.samples as f64 / seconds,
            100.0 * self.samples as f64 / self.served.max(1) as f64,
            self.cost(),
            by_process.join(" + "),
            cpu.as_secs_f64() * 1e3 / self.scrapes.max(1) as f64,
            per_million(self.cold_cpu, self.cold_samples),
            each(|usage| mebibytes(usage.resident)),
            each(|usage| mebibytes(usage.peak)),
            resident as f64 / self.series.max(1) as f64,
            self.delay(0.5),
            self.delay(0.99),
            self.bytes as f64 / self.samples.max(1) as f64,
            self.posts as f64 / seconds,
        )
    }

    /// Delay that this share of the samples does not exceed, in milliseconds.
    fn delay(&self, share: f64) -> usize {
        let total: u64 = self.delays.iter().sum();
        let (wanted, mut seen) = (total as f64 * share, 0);
        let found = self.delays.iter().position(|count| {
            seen += count;
            seen as f64 >= wanted
        });
        found.unwrap_or(0)
    }
}

/// Median of some values; 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn per_million(cpu: Duration, samples: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / samples.max(1) as f64
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}
