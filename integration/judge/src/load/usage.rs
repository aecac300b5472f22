//! CPU time and resident memory of the processes of a run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;

use crate::cpu;
use harness::process;

/// CPU and memory of all processes.
#[derive(Debug, Default)]
pub(super) struct Usage {
    processes: BTreeMap<String, ProcessUsage>,
}

/// CPU and memory of one process over time, including the processes it replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessUsage {
    memory: Vec<Point>,
    pid: u32,
    /// Set if it replaced another process.
    is_successor: bool,
    cpu: Duration,
    /// CPU time of the processes before.
    cpu_before: Duration,
}

/// Resident memory at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Duration,
    bytes: u64,
}

/// Memory of a process after its caches have filled: medians in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trend {
    /// Median of the first half.
    pub(super) first: u64,
    /// Median of the second half.
    pub(super) second: u64,
}

/// Name of the process that runs the stand-in for AMP.
pub(super) const STAND_IN: &str = "stand-in";

// === impl Usage ===

impl Usage {
    /// Measures a process. A process with a new ID was restarted.
    ///
    /// # Errors
    /// Returns an error if the process has ended.
    pub(super) fn measure(&mut self, name: &str, pid: u32, now: Duration) -> anyhow::Result<()> {
        let process = self.processes.entry(name.to_owned()).or_default();
        if process.pid != pid {
            process.cpu_before += std::mem::take(&mut process.cpu);
            process.is_successor = process.pid != 0;
            process.pid = pid;
        }
        process.cpu = cpu::of_process(pid).with_context(|| format!("CPU time of {name}"))?;
        let memory = process::memory(pid, "VmRSS").with_context(|| format!("memory of {name}"))?;
        process.memory.push(Point {
            at: now,
            bytes: memory,
        });
        Ok(())
    }

    /// All processes by name.
    pub(super) fn processes(&self) -> &BTreeMap<String, ProcessUsage> {
        &self.processes
    }

    /// Processes whose names begin with `kind`.
    pub(super) fn of(&self, kind: &'static str) -> impl Iterator<Item = (&String, &ProcessUsage)> {
        let processes = self.processes.iter();
        processes.filter(move |(name, _)| name.starts_with(kind))
    }
}

// === impl ProcessUsage ===

impl ProcessUsage {
    /// CPU time so far.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu_before + self.cpu
    }

    /// Resident memory at the last measurement, in bytes.
    pub(super) fn resident(&self) -> u64 {
        self.memory.last().map_or(0, |point| point.bytes)
    }

    /// Maximum of all measurements of the resident memory, in bytes.
    pub(super) fn peak(&self) -> u64 {
        let bytes = self.memory.iter().map(|point| point.bytes);
        bytes.max().unwrap_or(0)
    }

    /// Memory trend from a time on. `None` for a restarted process: its memory depends on
    /// which others were killed during its short lifetime, since it took over their
    /// targets.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trend_ignores_peaks_and_restarted_processes() {
        let seconds = Duration::from_secs;
        let trend = |is_successor, bytes: fn(u64) -> u64| {
            let points = (0..300).map(|at| Point {
                at: seconds(at),
                bytes: if at % 10 == 0 { 5000 } else { bytes(at) },
            });
            let process = ProcessUsage {
                memory: points.collect(),
                is_successor,
                ..ProcessUsage::default()
            };
            let trend = process.trend(seconds(100));
            trend.map(|trend| (trend.first, trend.second))
        };
        assert_eq!(trend(false, |at| at.min(100)), Some((100, 100)));
        assert_eq!(trend(true, |_| 100), None);
        assert!(trend(false, |at| at).is_some_and(|(first, second)| first < second));
    }

    #[test]
    fn cpu_time_includes_replaced_processes() {
        let mut process = ProcessUsage {
            cpu: Duration::from_secs(2),
            pid: 1,
            ..ProcessUsage::default()
        };
        assert_eq!(process.cpu(), Duration::from_secs(2));
        let mut usage = Usage::default();
        process.pid = 0;
        usage.processes.insert("me".to_owned(), process);
        usage
            .measure("me", std::process::id(), Duration::ZERO)
            .unwrap();
        let me = &usage.processes()["me"];
        assert!(!me.is_successor);
        assert!(me.cpu() >= Duration::from_secs(2) && me.resident() > 0);
        assert_eq!(me.peak(), me.resident());
    }
}
