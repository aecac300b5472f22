//! Targets, series and interval of a measurement.

use std::time::Duration;

/// Load of one measurement: the targets and the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// Name in the table.
    pub(super) name: &'static str,
    /// Number of targets.
    pub(super) targets: usize,
    /// Number of series of each target. Recorded bodies have their own number.
    pub(super) series: usize,
    /// Scrape interval.
    pub(super) interval: Duration,
    /// True if the bodies are recorded ones, whatever the flags say.
    pub(super) is_recorded: bool,
    /// Number of intervals after the first scrapes that are not measured.
    pub(super) settling: u32,
    /// Number of measured intervals, unless the flags name a time.
    pub(super) measured: u32,
}

const fn workload(
    name: &'static str,
    targets: usize,
    series: usize,
    interval_s: u64,
    measured: u32,
) -> Workload {
    Workload {
        name,
        targets,
        series,
        interval: Duration::from_secs(interval_s),
        is_recorded: false,
        settling: 2,
        measured,
    }
}

// === impl Workload ===

impl Workload {
    pub(super) const W1: Self = workload("W1", 10, 1000, 1, 30);
    pub(super) const W2: Self = workload("W2", 100, 5000, 5, 6);
    pub(super) const S: Self = workload("S", 1000, 100, 1, 30);
    pub(super) const R: Self = Self {
        is_recorded: true,
        settling: 1,
        ..workload("R", 1500, 0, 15, 3)
    };
    pub(super) const COLD: Self = Self {
        settling: 0,
        ..workload("cold", 100, 5000, 5, 1)
    };
    pub(super) const MEMORY: [Self; 2] = [
        Self {
            settling: 9,
            ..workload("500,000 series", 100, 5000, 15, 1)
        },
        Self {
            settling: 9,
            ..workload("1,000,000 series", 200, 5000, 15, 1)
        },
    ];
    pub(super) const TABLE: [Self; 3] = [
        workload("1,000/s", 15, 1000, 15, 40),
        workload("5,000/s", 75, 1000, 15, 40),
        workload("10,000/s", 150, 1000, 15, 40),
    ];
}
