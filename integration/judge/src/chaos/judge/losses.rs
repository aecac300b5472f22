//! Law 1: no sample is lost. Each acquired sample has arrived, or has expired and is
//! accounted for.
//!
//! A served scrape is not always an acquired one. The receiver may have stopped or handed
//! over the target while it read the response. A killed receiver loses what it had only in
//! memory.

use std::collections::BTreeSet;

use mesh_model::labels::METRIC_NAME;

use super::{Judgement, Record, delivery::Deliveries};
use crate::chaos::record::{Scrape, Target};
use stand_ins::{
    amp::{Outcome, Value},
    otel,
};

/// Reason why a scrape never arrived.
enum Cause {
    /// The receiver was killed and had it only in memory.
    Died,
    /// The receiver did not read it to its end.
    Unread,
    /// The receiver's clock was set back and had already shown the time of the scrape.
    /// Prometheus scrapes in this case, too, and stores nothing.
    Repeated,
    Lost,
}

/// Maximum time to read a scrape, in milliseconds.
const READING_MS: i64 = 2_500;
/// Maximum time until a batch is spilled and synced, in milliseconds.
const SPILLING_MS: i64 = 5_000;

// === impl Judgement ===

impl Judgement {
    pub(super) fn losses<'a>(&mut self, record: &'a Record, deliveries: &Deliveries<'a>) {
        for target in &record.targets {
            for (index, scrape) in target.served.iter().enumerate() {
                let number = index + 1;
                let delivery = deliveries.get(&target.instance, number);
                if let Some(delivery) = delivery {
                    let missing = scrape.samples.saturating_sub(delivery.series.len());
                    if missing > 0 {
                        self.lose_part(record, missing, &target.instance, scrape);
                    }
                    continue;
                }
                let replica = record.replica(&scrape.by);
                let down =
                    deliveries.is_down(&target.instance, replica, scrape.at_ms, record.interval_ms);
                match cause(record, target, index, deliveries) {
                    Cause::Repeated => self.repeated += scrape.samples,
                    Cause::Died => self.died += scrape.samples,
                    Cause::Unread => {}
                    Cause::Lost if down => {}
                    Cause::Lost => self.lose(record, scrape.samples, || {
                        format!("scrape {number} of {}: {scrape:?}", target.instance)
                    }),
                }
            }
        }
        let pushes = lost_pushes(record);
        if pushes > 0 {
            self.lost += pushes;
            self.violates(format!("{pushes} acknowledged pushes are lost"));
        }
    }

    /// Counts missing samples of a scrape that has arrived in part. Such a scrape did not
    /// time out.
    fn lose_part(&mut self, record: &Record, samples: usize, instance: &str, scrape: &Scrape) {
        if record.rules.allows_expiry {
            self.expired += samples;
        } else {
            self.lost += samples;
            self.violates(format!("lost: {samples} samples of {instance}: {scrape:?}"));
        }
    }

    fn lose(&mut self, record: &Record, samples: usize, what: impl Fn() -> String) {
        if record.rules.allows_expiry {
            self.expired += samples;
        } else {
            self.lost += samples;
            self.violates_timing(format!("lost: {}", what()));
        }
    }
}

fn cause<'a>(
    record: &Record,
    target: &'a Target,
    index: usize,
    deliveries: &Deliveries<'a>,
) -> Cause {
    let scrape = &target.served[index];
    let Some(receiver) = record.receiver(&scrape.by) else {
        return Cause::Lost;
    };
    let mut lifetimes = receiver.lifetimes.iter().rev();
    let Some(lifetime) =
        lifetimes.find(|lifetime| lifetime.started_ms <= scrape.at_ms + READING_MS)
    else {
        return Cause::Lost;
    };
    let memory_ms = if receiver.spills {
        SPILLING_MS
    } else {
        record.rules.memory_ms
    };
    if let Some(killed_ms) = lifetime.killed_ms {
        let at_ms = scrape.at_ms;
        if (killed_ms - memory_ms..=killed_ms + READING_MS).contains(&at_ms) {
            return Cause::Died;
        }
    }
    // A busy target may accept a request after the receiver has given up.
    let soon = |end_ms: i64| (-READING_MS..=READING_MS).contains(&(end_ms - scrape.at_ms));
    let moved = || handed_over(record, target, index);
    let away = || {
        let own = record.absences.iter().filter(|a| a.pod == scrape.by);
        let mut during = own.map(|a| a.from_ms - READING_MS..=a.to_ms);
        during.any(|time| time.contains(&scrape.at_ms))
    };
    if is_repeated(record, target, index, deliveries) {
        return Cause::Repeated;
    }
    if lifetime.stopped_ms.is_some_and(soon) || away() || moved() {
        return Cause::Unread;
    }
    Cause::Lost
}

/// Returns `true` if the clock of the receiver was set and had already shown the time of the
/// scrape.
fn is_repeated<'a>(
    record: &Record,
    target: &'a Target,
    index: usize,
    deliveries: &Deliveries<'a>,
) -> bool {
    let scrape = &target.served[index];
    if !record.clock_steps.iter().any(|step| step.pod == scrape.by) {
        return false;
    }
    let time_ms = scrape.at_ms + record.offset_ms(&scrape.by, scrape.at_ms);
    let earlier = target.served[..index].iter().enumerate();
    let mut own = earlier
        .filter(|(_, earlier)| earlier.by == scrape.by)
        .filter_map(|(index, _)| deliveries.get(&target.instance, index + 1));
    own.any(|delivery| delivery.timestamp + record.interval_ms / 2 >= time_ms)
}

/// Returns `true` if another receiver made the group's next scrape.
fn handed_over(record: &Record, target: &Target, index: usize) -> bool {
    let by = &target.served[index].by;
    let later = target.served[index + 1..].iter();
    let mut of_group =
        later.filter(|next: &&Scrape| record.replica(&next.by) == record.replica(by));
    of_group.next().is_some_and(|next| next.by != *by)
}

/// Number of acknowledged pushes that are not stored.
fn lost_pushes(record: &Record) -> usize {
    let pushed = record.arrivals.iter().filter(|arrival| {
        arrival.labels.get(METRIC_NAME) == Some(otel::COUNTER)
            && matches!(arrival.outcome, Outcome::Stored | Outcome::Duplicate)
    });
    let stored: BTreeSet<u64> = pushed
        .filter_map(|arrival| match arrival.value {
            Value::Float(bits) => Some(bits),
            Value::Histogram(_) => None,
        })
        .collect();
    let is_lost = |orders: &&u64| !stored.contains(&(**orders as f64).to_bits());
    record.acknowledged.iter().filter(is_lost).count()
}
