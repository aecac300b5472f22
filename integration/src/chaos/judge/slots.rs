//! Slots without a scrape: one where a target moves, and those in which its owner was
//! gone and nobody knew, or was the owner and did not know.

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
                for two in visits.windows(2) {
                    self.gap(record, &target.instance, two[0], two[1]);
                }
            }
        }
    }

    fn gap(&mut self, record: &Record, instance: &str, from: Visit<'_>, to: Visit<'_>) {
        let slots = |ms: i64| ms as f64 / record.interval_ms as f64;
        let missed = (slots(to.0 - from.0).round() as usize).saturating_sub(1);
        if missed == 0 {
            return;
        }
        self.missed_slots += missed;
        let between = |at_ms: i64| (from.0..=to.0).contains(&at_ms);
        let steps = record.clock_steps.iter().filter(|step| step.pod == from.1);
        // Another owner, or another phase.
        let changed = from.1 != to.1 || steps.into_iter().any(|step| between(step.at_ms));
        let lasted = |spells: &[Spell], pod: &str| -> i64 {
            let own = spells.iter().filter(|spell| spell.pod == pod);
            let within = own.map(|s| s.to_ms.min(to.0) - s.from_ms.max(from.0));
            within.filter(|ms| *ms > 0).sum()
        };
        let away_ms = lasted(&record.absences, from.1) + lasted(&record.unaware, to.1);
        let excused = usize::from(changed || away_ms > 0) + slots(away_ms).ceil() as usize;
        if missed > excused {
            self.complain(format!(
                "{missed} slots of {instance} missed, {excused} allowed: {from:?} to {to:?}"
            ));
        }
    }
}
