//! Slots without a scrape: one for each move of a target, and those in which its owner
//! was gone and nobody could know.

use std::collections::BTreeMap;

use super::{Judgement, Record, delivery::Deliveries};

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
        let mut excused = 0;
        if from.1 != to.1 {
            // Where the members change again before the new owner's first slot, the
            // target moves on.
            let changes = record.changes.iter();
            let moves = changes.filter(|at_ms| (from.0..=to.0).contains(*at_ms));
            excused += moves.count();
        }
        // Another phase of the target's begins.
        let mut steps = record.clock_steps.iter().filter(|s| s.pod == from.1);
        if steps.any(|step| (from.0..=to.0).contains(&step.at_ms)) {
            excused += 1;
        }
        for absence in record.absences.iter().filter(|a| a.pod == from.1) {
            let away = absence.to_ms.min(to.0) - absence.from_ms.max(from.0);
            if away > 0 {
                excused += slots(away).ceil() as usize + 1;
            }
        }
        if missed > excused {
            self.complain(format!(
                "{missed} slots of {instance} missed, {excused} allowed: {from:?} to {to:?}"
            ));
        }
    }
}
