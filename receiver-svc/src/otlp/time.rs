//! Times of samples in OTLP's nanoseconds.

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A time in nanoseconds since the Unix epoch, where OTLP can express it.
pub(super) fn nanos(time_ms: i64) -> Option<u64> {
    u64::try_from(time_ms).ok()?.checked_mul(NANOS_PER_MILLI)
}

/// The time of a sample. One that OTLP cannot express is centuries away, and no
/// storage has let it pass.
pub(super) fn sample_nanos(time_ms: i64) -> u64 {
    nanos(time_ms).unwrap_or(if time_ms < 0 { 0 } else { u64::MAX })
}

/// When a series started to count. OTLP has 0 for not known.
pub(super) fn start_nanos(start_ms: Option<i64>) -> Option<u64> {
    start_ms.and_then(nanos).filter(|nanos| *nanos > 0)
}
