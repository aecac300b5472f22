//! Scrape schedule of a target.
//!
//! Time is divided into slots of one scrape interval. A hash of the target's identity
//! and its replica group determines the target's offset within them. So the offset is
//! the same in every process: a receiver that takes a target over continues its schedule
//! (law 9), and two replica groups scrape a target at different times.

use std::time::Duration;

/// Scrape schedule of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

/// Maximum delay for which a sample gets the start time of its slot (2 ms).
///
/// Evenly spaced timestamps compress better.
const TOLERANCE: Duration = Duration::from_millis(2);

// === impl Schedule ===

impl Schedule {
    /// Creates the schedule of a target in a replica group.
    pub fn new(identity: u64, group: &str, interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(group.as_bytes(), identity);
        Self {
            interval_ms,
            offset_ms: (hash % interval_ms.unsigned_abs()) as i64,
        }
    }

    /// Returns the number of the slot that contains `now_ms`.
    pub fn slot_at(self, now_ms: i64) -> i64 {
        (now_ms - self.offset_ms).div_euclid(self.interval_ms)
    }

    /// Returns the start of a slot, in milliseconds since the Unix epoch.
    pub fn start_ms(self, slot: i64) -> i64 {
        slot * self.interval_ms + self.offset_ms
    }

    /// Returns the timestamp for the samples of a scrape that starts at `now_ms` in
    /// `slot`, in milliseconds since the Unix epoch.
    pub fn time_ms(self, slot: i64, now_ms: i64) -> i64 {
        let tolerance = (self.interval_ms / 100).min(TOLERANCE.as_millis() as i64);
        let start = self.start_ms(slot);
        if (0..=tolerance).contains(&(now_ms - start)) {
            start
        } else {
            now_ms
        }
    }

    /// Returns the scrape interval.
    pub fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    proptest! {
        #[test]
        fn slots_have_no_gaps(identity: u64, now_ms in 0_i64..1 << 50) {
            let schedule = Schedule::new(identity, "a", MINUTE);
            let slot = schedule.slot_at(now_ms);
            prop_assert!(schedule.start_ms(slot) <= now_ms);
            prop_assert!(schedule.start_ms(slot + 1) > now_ms);
            prop_assert_eq!(schedule.slot_at(schedule.start_ms(slot)), slot);
        }
    }

    #[test]
    fn offset_depends_on_the_target_and_the_group() {
        let one = Schedule::new(7, "a", MINUTE);
        assert_eq!(one, Schedule::new(7, "a", MINUTE));
        assert_ne!(one, Schedule::new(7, "b", MINUTE));
        assert_ne!(one, Schedule::new(8, "a", MINUTE));
    }

    #[test]
    fn offsets_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for identity in 0..10_000 {
            let offset = Schedule::new(identity, "a", MINUTE).offset_ms;
            tenths[(offset / 6_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
    }

    #[test]
    fn times_snap_to_the_slot_within_the_tolerance() {
        let schedule = Schedule::new(7, "a", MINUTE);
        let start = schedule.start_ms(3);
        assert_eq!(schedule.time_ms(3, start + 2), start);
        assert_eq!(schedule.time_ms(3, start + 3), start + 3);
        assert_eq!(schedule.time_ms(3, start - 1), start - 1);
        let fast = Schedule::new(7, "a", Duration::from_millis(100));
        assert_eq!(fast.time_ms(3, fast.start_ms(3) + 1), fast.start_ms(3));
        assert_eq!(fast.time_ms(3, fast.start_ms(3) + 2), fast.start_ms(3) + 2);
    }
}
