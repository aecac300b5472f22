//! Slots without a scrape: one each time that a target moves, and those in which its
//! owner was gone and nobody knew, or was the owner and did not know.

use std::collections::BTreeMap;

use super::{Judgement, Record, delivery::Deliveries};
use crate::chaos::world::Spell;

/// A scrape: when, and by which receiver.
type Visit<'a> = (i64, &'a str);

// === impl Judgement ===

impl Judgement {
    pub(super) fn slots<'a>(&mut self, record: &'a Record, deliveries: &Deliveries<'a>) {
        for target in &record.targets {
            let mut groups: BTreeMap<_, Vec<Visit<'_>>> = BTreeMap::new();
            for (place, scrape) in target.served.iter().enumerate() {
                let delivery = deliveries.get(&target.instance, place + 1);
                let wrong_ms = record.wrong_ms(&scrape.by, scrape.at_ms);
                let at_ms = delivery.map_or(scrape.at_ms, |d| d.timestamp - wrong_ms);
                let replica = record.replica(&scrape.by);
                groups.entry(replica).or_default().push((at_ms, &scrape.by));
            }
            for visits in groups.values_mut() {
                visits.sort_unstable();
                let phase_ms = phase(visits, record.interval_ms);
                let slot = |at_ms: i64| (at_ms - phase_ms).div_euclid(record.interval_ms);
                for two in visits.windows(2) {
                    let (from_ms, to_ms) = (two[0].0, two[1].0);
                    // A late scrape misses none, nor does one a little before its slot,
                    // whose clock was set.
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
        (from, to): (Visit<'_>, Visit<'_>),
    ) {
        let slots = |ms: i64| ms as f64 / record.interval_ms as f64;
        self.missed_slots += missed;
        let between = |at_ms: &i64| (from.0..=to.0).contains(at_ms);
        let mut steps = record.clock_steps.iter().filter(|step| step.pod == from.1);
        // Each time that the members change it may move.
        let moves = match from.1 == to.1 {
            true => 0,
            false => record.changes_of(from.1).filter(between).count().max(1),
        };
        // Another phase.
        let steps = usize::from(steps.any(|step| between(&step.at_ms)));
        let lasted = |spells: &[Spell], pod: &str| -> i64 {
            let own = spells.iter().filter(|spell| spell.pod == pod);
            let within = own.map(|s| s.to_ms.min(to.0) - s.from_ms.max(from.0));
            within.filter(|ms| *ms > 0).sum()
        };
        let away_ms = lasted(&record.absences, from.1) + lasted(&record.unaware, to.1);
        let away = slots(away_ms).ceil() as usize + usize::from(moves == 0 && away_ms > 0);
        let excused = moves + steps + away;
        if missed > excused {
            self.complain(format!(
                "{missed} slots of {instance} missed, {excused} allowed: {from:?} to {to:?}"
            ));
        }
    }
}

/// When slots begin: so that scrapes are as little later as can be.
fn phase(visits: &[Visit<'_>], interval_ms: i64) -> i64 {
    let late_ms = |phase_ms: i64| -> i64 {
        let late = visits
            .iter()
            .map(|(at_ms, _)| (at_ms - phase_ms).rem_euclid(interval_ms));
        late.sum()
    };
    let phases = visits
        .iter()
        .map(|(at_ms, _)| at_ms.rem_euclid(interval_ms));
    phases
        .min_by_key(|phase_ms| late_ms(*phase_ms))
        .unwrap_or_default()
}
