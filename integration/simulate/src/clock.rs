//! The time of a simulation.

use std::fmt;

use mesh_service::telemetry::{FormatTime, Writer};

/// Time of the clocks when a simulation starts, in milliseconds since the Unix epoch.
pub(super) const START_MS: i64 = 1_800_000_000_000;

/// Formats the simulated time of this thread for log lines, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Time;

impl FormatTime for Time {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", now_ms())
    }
}

/// Time of a host whose clock has no skew, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    START_MS + turmoil::sim_elapsed().unwrap_or_default().as_millis() as i64
}
