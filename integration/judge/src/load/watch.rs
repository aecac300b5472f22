//! What the processes of a run cost: processor time and resident memory.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context;

use harness::child;

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
    /// Whether it took the place of another.
    is_successor: bool,
    cpu: Duration,
    /// Of the processes before.
    cpu_before: Duration,
}

/// Resident memory at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Duration,
    bytes: u64,
}

/// How the memory of a process went, once its caches had filled: medians in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trend {
    /// Of the first half of that time.
    pub(super) first: u64,
    /// Of the second half.
    pub(super) second: u64,
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
            track.is_successor = track.pid != 0;
            track.pid = pid;
        }
        track.cpu = cpu(pid).with_context(|| format!("processor time of {name}"))?;
        let memory = child::memory(pid, "VmRSS").with_context(|| format!("memory of {name}"))?;
        track.memory.push(Point {
            at: now,
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

    /// How the memory went from a time on of a process that has run all along. One that
    /// took the place of another is not judged: what it does depends on who else was
    /// killed in its short life, as the others' share of the samples is its own.
    pub(super) fn trend(&self, from: Duration) -> Option<Trend> {
        if self.is_successor {
            return None;
        }
        let points = self.memory.iter().filter(|point| point.at >= from);
        let points: Vec<_> = points.collect();
        let (first, second) = points.split_at(points.len() / 2);
        let median = |points: &[&Point]| {
            let mut bytes: Vec<_> = points.iter().map(|point| point.bytes).collect();
            bytes.sort_unstable();
            bytes.get(bytes.len() / 2).copied()
        };
        Some(Trend {
            first: median(first)?,
            second: median(second)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_told_from_peaks_and_from_other_processes() {
        let seconds = Duration::from_secs;
        let trend = |is_successor, bytes: fn(u64) -> u64| {
            let points = (0..300).map(|at| Point {
                at: seconds(at),
                bytes: if at % 10 == 0 { 5000 } else { bytes(at) },
            });
            let track = Track {
                memory: points.collect(),
                is_successor,
                ..Track::default()
            };
            let trend = track.trend(seconds(100));
            trend.map(|trend| (trend.first, trend.second))
        };
        assert_eq!(trend(false, |at| at.min(100)), Some((100, 100)));
        assert_eq!(trend(true, |_| 100), None);
        assert!(trend(false, |at| at).is_some_and(|(first, second)| first < second));
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
        assert!(!me.is_successor);
        assert!(me.cpu() >= Duration::from_secs(2) && me.resident() > 0);
        assert_eq!(me.peak(), me.resident());
    }
}
