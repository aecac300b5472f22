//! Nothing is lost: what was acquired has arrived, or its giving up is booked.
//!
//! A scrape that was answered was not always acquired. Its receiver may have stopped,
//! or let go of the target, while it read the answer; and a receiver that is killed
//! takes with it what it had in memory only.

use std::collections::BTreeSet;

use mesh_model::labels::METRIC_NAME;

use super::{Judgement, Record, delivery::Deliveries};
use stand_ins::{amp::{Outcome, Value}, otel};
use crate::chaos::record::{Scrape, Target};

/// What became of a scrape that never arrived.
enum Fate {
    /// It died with its receiver.
    Died,
    /// Its receiver did not read it to its end.
    Unread,
    /// The receiver's clock was set back, and has shown its time before: a Prometheus
    /// scrapes then, too, and stores nothing.
    Repeated,
    Lost,
}

/// How long a scrape may be read.
const READING_MS: i64 = 2_500;
/// How long a batch is in memory only, where there is a disk: until it is spilled and
/// synced.
const SPILLING_MS: i64 = 5_000;

// === impl Judgement ===

impl Judgement {
    pub(super) fn losses<'a>(&mut self, record: &'a Record, deliveries: &Deliveries<'a>) {
        for target in &record.targets {
            for (place, scrape) in target.served.iter().enumerate() {
                let number = place + 1;
                let delivery = deliveries.get(&target.instance, number);
                if let Some(delivery) = delivery {
                    let missing = scrape.samples.saturating_sub(delivery.series.len());
                    if missing > 0 {
                        self.lose(record, missing, || {
                            format!("{missing} samples of {}: {scrape:?}", target.instance)
                        });
                    }
                    continue;
                }
                let replica = record.replica(&scrape.by);
                let down =
                    deliveries.is_down(&target.instance, replica, scrape.at_ms, record.interval_ms);
                match fate(record, target, place, deliveries) {
                    Fate::Repeated => self.repeated += scrape.samples,
                    Fate::Died => self.died += scrape.samples,
                    Fate::Unread => {}
                    Fate::Lost if down => {}
                    Fate::Lost => self.lose(record, scrape.samples, || {
                        format!("scrape {number} of {}: {scrape:?}", target.instance)
                    }),
                }
            }
        }
        self.lost += lost_pushes(record);
    }

    fn lose(&mut self, record: &Record, samples: usize, what: impl Fn() -> String) {
        if record.rules.expires {
            self.expired += samples;
        } else {
            self.lost += samples;
            self.complain(format!("lost: {}", what()));
        }
    }
}

fn fate<'a>(
    record: &Record,
    target: &'a Target,
    place: usize,
    deliveries: &Deliveries<'a>,
) -> Fate {
    let scrape = &target.served[place];
    let Some(receiver) = record.receiver(&scrape.by) else {
        return Fate::Lost;
    };
    let mut lives = receiver.lives.iter().rev();
    let Some(life) = lives.find(|life| life.began_ms <= scrape.at_ms + READING_MS) else {
        return Fate::Lost;
    };
    let memory_ms = if receiver.spills {
        SPILLING_MS
    } else {
        record.rules.memory_ms
    };
    if let Some(killed_ms) = life.killed_ms {
        let at_ms = scrape.at_ms;
        if (killed_ms - memory_ms..=killed_ms + READING_MS).contains(&at_ms) {
            return Fate::Died;
        }
    }
    // A busy target may have taken the request only after it was given up.
    let soon = |end_ms: i64| (-READING_MS..=READING_MS).contains(&(end_ms - scrape.at_ms));
    let left = || handed_over(record, target, place);
    let away = || {
        let own = record.absences.iter().filter(|a| a.pod == scrape.by);
        let mut during = own.map(|a| a.from_ms - READING_MS..=a.to_ms);
        during.any(|time| time.contains(&scrape.at_ms))
    };
    if is_repeated(record, target, place, deliveries) {
        return Fate::Repeated;
    }
    if life.stopped_ms.is_some_and(soon) || away() || left() {
        return Fate::Unread;
    }
    Fate::Lost
}

/// Whether a receiver whose clock was set had shown a scrape's time before.
fn is_repeated<'a>(
    record: &Record,
    target: &'a Target,
    place: usize,
    deliveries: &Deliveries<'a>,
) -> bool {
    let scrape = &target.served[place];
    if !record.clock_steps.iter().any(|step| step.pod == scrape.by) {
        return false;
    }
    let time_ms = scrape.at_ms + record.wrong_ms(&scrape.by, scrape.at_ms);
    let earlier = target.served[..place].iter().enumerate();
    let mut own = earlier
        .filter(|(_, earlier)| earlier.by == scrape.by)
        .filter_map(|(place, _)| deliveries.get(&target.instance, place + 1));
    own.any(|delivery| delivery.timestamp + record.interval_ms / 2 >= time_ms)
}

/// Whether the next scrape of the group was another receiver's.
fn handed_over(record: &Record, target: &Target, place: usize) -> bool {
    let by = &target.served[place].by;
    let later = target.served[place + 1..].iter();
    let mut of_group =
        later.filter(|next: &&Scrape| record.replica(&next.by) == record.replica(by));
    of_group.next().is_some_and(|next| next.by != *by)
}

/// Pushes that were acknowledged and are not stored.
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
