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
    memory: Vec<Point>,
    pid: u32,
    began: Duration,
    cpu: Duration,
    /// Of the processes before.
    cpu_before: Duration,
}

/// Resident memory at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Duration,
    /// How long the process had run by then, as far as it was looked at.
    age: Duration,
    bytes: u64,
}

/// How a process' memory went: medians, in bytes, of the last two thirds of a run. The
/// first is for caches to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trend {
    /// Of the second third.
    pub(super) middle: u64,
    /// Of the last third.
    pub(super) last: u64,
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
            track.began = now;
        }
        track.cpu = cpu(pid).with_context(|| format!("processor time of {name}"))?;
        let memory = resident(pid).with_context(|| format!("memory of {name}"))?;
        track.memory.push(Point {
            at: now,
            age: now.saturating_sub(track.began),
            bytes: memory,
        });
        Ok(())
    }

    /// The processes by name.
    pub(super) fn tracks(&self) -> &BTreeMap<String, Track> {
        &self.tracks
    }

    /// Those whose name begins so.
    pub(super) fn of(&self, kind: &'static str) -> impl Iterator<Item = (&String, &Track)> {
        let tracks = self.tracks.iter();
        tracks.filter(move |(name, _)| name.starts_with(kind))
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
        self.memory.last().map_or(0, |point| point.bytes)
    }

    /// The most memory that was seen, in bytes.
    pub(super) fn peak(&self) -> u64 {
        let bytes = self.memory.iter().map(|point| point.bytes);
        bytes.max().unwrap_or(0)
    }

    /// How memory went in a run of this length, as far as its processes had run for
    /// `young` by then; `None` where one of the thirds has no such time.
    pub(super) fn trend(&self, run: Duration, young: Duration) -> Option<Trend> {
        let third = run / 3;
        let median = |from: Duration, until: Duration| {
            let points = self.memory.iter();
            let points = points.filter(|p| p.at >= from && p.at < until && (p.age >= young));
            let mut bytes: Vec<_> = points.map(|point| point.bytes).collect();
            bytes.sort_unstable();
            bytes.get(bytes.len() / 2).copied()
        };
        Some(Trend {
            middle: median(third, third * 2)?,
            last: median(third * 2, Duration::MAX)?,
        })
    }
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
    fn a_trend_is_told_from_peaks_and_from_young_processes() {
        let seconds = Duration::from_secs;
        let point = |at: u64, age: u64, bytes: u64| Point {
            at: seconds(at),
            age: seconds(age),
            bytes,
        };
        let mut track = Track::default();
        assert_eq!(track.trend(seconds(300), seconds(10)), None);
        // It fills its caches, is killed at 200, and has peaks all the time.
        track.memory = (0..300)
            .map(|at| match at {
                0..100 => point(at, at, at),
                _ if at % 10 == 0 => point(at, at % 200, 5000),
                200..210 => point(at, at - 200, 1),
                _ => point(at, at % 200, 100),
            })
            .collect();
        let flat = Trend {
            middle: 100,
            last: 100,
        };
        assert_eq!(track.trend(seconds(300), seconds(10)), Some(flat));
        assert_eq!(track.trend(seconds(300), seconds(100)), None);
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
