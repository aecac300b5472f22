//! Converts the timestamps of samples to nanoseconds, the unit of OTLP.

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Converts milliseconds since the Unix epoch to nanoseconds.
///
/// Returns `None` for a time before the epoch and on overflow.
pub(super) fn nanos(time_ms: i64) -> Option<u64> {
    u64::try_from(time_ms).ok()?.checked_mul(NANOS_PER_MILLI)
}

/// Timestamp of a sample in nanoseconds since the Unix epoch.
///
/// Clamps a time that OTLP cannot express. Such a time is centuries away, so the
/// append has already rejected it.
pub(super) fn sample_nanos(time_ms: i64) -> u64 {
    nanos(time_ms).unwrap_or(if time_ms < 0 { 0 } else { u64::MAX })
}

/// Start timestamp of a series in nanoseconds since the Unix epoch.
///
/// Returns `None` for 0, which means "unknown" in OTLP.
pub(super) fn start_nanos(start_ms: Option<i64>) -> Option<u64> {
    start_ms.and_then(nanos).filter(|nanos| *nanos > 0)
}
