//! What the processes of a run cost: processor time and resident memory.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context;

/// All processes that were looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    tracks: BTreeMap<String, Track>,
}

/// One process over time, with those that took its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Resident memory, in bytes, and when.
    pub(super) memory: Vec<(Duration, u64)>,
    pid: u32,
    cpu: Duration,
    /// Of the processes before.
    cpu_before: Duration,
}

/// How a process' memory went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Bytes on average.
    pub(super) mean: f64,
    /// Bytes that a straight line through the points grows by from the first of them
    /// to the last.
    pub(super) growth: f64,
}

/// What the kernel reports times in, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

// === impl Watch ===

impl Watch {
    /// Looks at a process. One that has a new number was started again.
    ///
    /// # Errors
    /// Where it is gone.
    pub(super) fn look(&mut self, name: &str, pid: u32, now: Duration) -> anyhow::Result<()> {
        let track = self.tracks.entry(name.to_owned()).or_default();
        if track.pid != pid {
            track.cpu_before += std::mem::take(&mut track.cpu);
            track.pid = pid;
        }
        track.cpu = cpu(pid).with_context(|| format!("processor time of {name}"))?;
        let memory = resident(pid).with_context(|| format!("memory of {name}"))?;
        track.memory.push((now, memory));
        Ok(())
    }

    /// The processes by name.
    pub(super) fn tracks(&self) -> &BTreeMap<String, Track> {
        &self.tracks
    }

    /// Those whose name begins so.
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Track> {
        let of_kind = self
            .tracks
            .iter()
            .filter(move |(name, _)| name.starts_with(kind));
        of_kind.map(|(_, track)| track)
    }
}

// === impl Track ===

impl Track {
    /// Processor time so far.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu_before + self.cpu
    }

    /// Resident memory, in bytes, when it was looked at last.
    pub(super) fn resident(&self) -> u64 {
        self.memory.last().map_or(0, |(_, bytes)| *bytes)
    }

    /// The most memory that was seen, in bytes.
    pub(super) fn peak(&self) -> u64 {
        let bytes = self.memory.iter().map(|(_, bytes)| *bytes);
        bytes.max().unwrap_or(0)
    }

    /// How memory went after the warm-up; `None` for too few points.
    pub(super) fn trend(&self, warm_up: Duration) -> Option<Trend> {
        let after = self.memory.iter().filter(|(at, _)| *at >= warm_up);
        let points: Vec<_> = after
            .map(|(at, bytes)| (at.as_secs_f64(), *bytes as f64))
            .collect();
        trend(&points)
    }
}

/// The straight line of least squares.
fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    let n = points.len() as f64;
    let mean_at = points.iter().map(|(at, _)| at).sum::<f64>() / n;
    let mean = points.iter().map(|(_, bytes)| bytes).sum::<f64>() / n;
    let square: f64 = points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
    let product: f64 = points
        .iter()
        .map(|(at, bytes)| (at - mean_at) * (bytes - mean))
        .sum();
    (square > 0.0).then(|| Trend {
        mean,
        growth: product / square * (last - first),
    })
}

fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before the parenthesis may hold anything. Field 3 follows it.
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let times = fields.split(' ').skip(14 - 3).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("no VmRSS")?.parse::<u64>()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_told_from_noise() {
        let points = |slope: f64| -> Vec<_> {
            let noise = |at: i32| if at % 2 == 0 { 5.0 } else { -5.0 };
            (0..101)
                .map(|at| (f64::from(at), 1000.0 + slope * f64::from(at) + noise(at)))
                .collect()
        };
        let flat = trend(&points(0.0)).unwrap();
        assert!(
            flat.growth.abs() < 1.0 && (flat.mean - 1000.0).abs() < 1.0,
            "{flat:?}"
        );
        let growing = trend(&points(3.0)).unwrap();
        assert!((growing.growth - 300.0).abs() < 1.0, "{growing:?}");
        assert_eq!(trend(&[(1.0, 1.0)]), None);
    }

    #[test]
    fn time_of_a_process_that_was_replaced_still_counts() {
        let mut track = Track {
            cpu: Duration::from_secs(2),
            pid: 1,
            ..Track::default()
        };
        assert_eq!(track.cpu(), Duration::from_secs(2));
        let mut watch = Watch::default();
        track.pid = 0;
        watch.tracks.insert("me".to_owned(), track);
        watch
            .look("me", std::process::id(), Duration::ZERO)
            .unwrap();
        let me = &watch.tracks()["me"];
        assert!(me.cpu() >= Duration::from_secs(2) && me.resident() > 0);
        assert_eq!(me.peak(), me.resident());
    }
}
