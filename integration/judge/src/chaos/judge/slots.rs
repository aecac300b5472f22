//! Slots without a scrape. A target may miss one slot per move, and the slots in which its
//! owner was gone or unaware of being the owner.

use std::collections::BTreeMap;

use super::{Judgement, Record, delivery::Deliveries};
use crate::chaos::cluster::Period;

/// A scrape: time in milliseconds since the Unix epoch, and receiver.
type SlotScrape<'a> = (i64, &'a str);

// === impl Judgement ===

impl Judgement {
    pub(super) fn slots<'a>(&mut self, record: &'a Record, deliveries: &Deliveries<'a>) {
        for target in &record.targets {
            let mut groups: BTreeMap<_, Vec<SlotScrape<'_>>> = BTreeMap::new();
            for (index, scrape) in target.served.iter().enumerate() {
                let delivery = deliveries.get(&target.instance, index + 1);
                let offset_ms = record.offset_ms(&scrape.by, scrape.at_ms);
                let at_ms = delivery.map_or(scrape.at_ms, |d| d.timestamp - offset_ms);
                let replica = record.replica(&scrape.by);
                groups.entry(replica).or_default().push((at_ms, &scrape.by));
            }
            for scrapes in groups.values_mut() {
                scrapes.sort_unstable();
                let phase_ms = phase(scrapes, record.interval_ms);
                let slot = |at_ms: i64| (at_ms - phase_ms).div_euclid(record.interval_ms);
                for two in scrapes.windows(2) {
                    let (from_ms, to_ms) = (two[0].0, two[1].0);
                    // A late scrape misses no slot. Neither does an early one after its
                    // receiver's clock was set.
                    let slots = (to_ms - from_ms + record.interval_ms / 2) / record.interval_ms;
                    let missed = slots.min(slot(to_ms) - slot(from_ms)) - 1;
                    if missed > 0 {
                        self.gap(record, &target.instance, missed as usize, (two[0], two[1]));
                    }
                }
            }
        }
    }

    fn gap(
        &mut self,
        record: &Record,
        instance: &str,
        missed: usize,
        (from, to): (SlotScrape<'_>, SlotScrape<'_>),
    ) {
        let slots = |ms: i64| ms as f64 / record.interval_ms as f64;
        self.missed_slots += missed;
        let between = |at_ms: &i64| (from.0..=to.0).contains(at_ms);
        let mut steps = record.clock_steps.iter().filter(|step| step.pod == from.1);
        // Each change of the members may move the target.
        let moves = if from.1 == to.1 {
            0
        } else {
            record.changes_of(from.1).filter(between).count().max(1)
        };
        // A clock step shifts the slots.
        let steps = usize::from(steps.any(|step| between(&step.at_ms)));
        let lasted = |periods: &[Period], pod: &str| -> i64 {
            let own = periods.iter().filter(|period| period.pod == pod);
            let within = own.map(|s| s.to_ms.min(to.0) - s.from_ms.max(from.0));
            within.filter(|ms| *ms > 0).sum()
        };
        let away_ms = lasted(&record.absences, from.1) + lasted(&record.stale_views, to.1);
        let away = slots(away_ms).ceil() as usize + usize::from(moves == 0 && away_ms > 0);
        let allowed = moves + steps + away;
        if missed > allowed {
            self.violates_timing(format!(
                "{missed} slots of {instance} missed, {allowed} allowed: {from:?} to {to:?}"
            ));
        }
    }
}

/// Start of the slots within an interval, such that the scrapes are as early in their slots
/// as possible.
fn phase(scrapes: &[SlotScrape<'_>], interval_ms: i64) -> i64 {
    let late_ms = |phase_ms: i64| -> i64 {
        let late = scrapes
            .iter()
            .map(|(at_ms, _)| (at_ms - phase_ms).rem_euclid(interval_ms));
        late.sum()
    };
    let phases = scrapes
        .iter()
        .map(|(at_ms, _)| at_ms.rem_euclid(interval_ms));
    phases
        .min_by_key(|phase_ms| late_ms(*phase_ms))
        .unwrap_or_default()
}
