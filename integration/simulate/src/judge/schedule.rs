//! The laws of the scrapes: every answer was acquired unless its receiver went
//! away, a moved target misses one slot at most, and all flow again soon.

use std::collections::{BTreeMap, BTreeSet};

use super::{Life, REPLICA, Record, Verdict, number};
use crate::{ receiver::{AWAY_TIMEOUT, HANDOVER_TIMEOUT}, targets::{self, Served}, };

/// Lanes flow again this long after a fault at the latest.
const RECOVERY_MS: i64 = 10_000;
/// A lane sends again this long after a deadline at the latest, and is answered.
const RESUMING_MS: i64 = 1_000;
/// A round of asking the others takes this long at most.
const ROUND_MS: i64 = 1_000;
/// A scrape is read to its end within its timeout, and what is read is pushed at
/// once.
const READING_MS: i64 = 1_000;
/// A request is this long on its way to a target at most.
const ASKING_MS: i64 = 100;
/// What is due is spilled this long after that at the latest.
const SPILLING_MS: i64 = 600;
/// A new owner asks the old one as soon as it knows, and again 250 ms later where that
/// one is about to end a scrape.
const CLAIMING_MS: i64 = 750;

// === impl Verdict ===

impl Verdict {
    /// Every scrape that was answered was acquired and sent, unless its receiver
    /// was killed, stopped or lost the target while it read.
    pub(super) fn acquisitions(&mut self, record: &Record) {
        let mut absent: BTreeMap<usize, Vec<&Served>> = BTreeMap::new();
        let sent: BTreeSet<_> = record.lives.iter().flat_map(numbers).collect();
        for scrape in &record.served {
            if sent.contains(&(targets::address(scrape.target), scrape.number)) {
                continue;
            }
            match life_of(scrape, &record.lives) {
                Some(life) => absent.entry(life).or_default().push(scrape),
                None => self.breaks(format!("answered to nobody: {scrape:?}")),
            }
        }
        for (life, scrapes) in absent {
            let life = &record.lives[life];
            // What was pushed and never sent died with its receiver.
            let mut died = match life.crashed_ms {
                Some(_) => life.undeparted(),
                None => 0,
            };
            let kept_ms = record.kept_until_ms(life);
            for scrape in scrapes {
                if life.was_reading(scrape) {
                    self.unacquired += 1;
                } else if kept_ms.is_some_and(|kept_ms| scrape.at_ms < kept_ms) {
                    self.breaks(format!("spilled and lost: {scrape:?}"));
                } else if died > 0 {
                    died = died.saturating_sub(SAMPLES);
                } else {
                    self.breaks(format!("lost: {scrape:?}"));
                }
            }
        }
    }

    /// Law 9: a target that moves misses one slot at most.
    pub(super) fn slots(&mut self, record: &Record) {
        let mut scraped: BTreeMap<(&str, String), BTreeSet<i64>> = BTreeMap::new();
        for life in &record.lives {
            let departed = life.departed().into_iter();
            for batch in departed.filter(|batch| targets::is_one(&batch.instance)) {
                let key = (life.group.as_str(), batch.instance.clone());
                scraped.entry(key).or_default().insert(batch.time_ms);
            }
        }
        // A slot whose samples died with a receiver that was killed while it drained
        // was not missed.
        for scrape in &record.served {
            let life = life_of(scrape, &record.lives).map(|life| &record.lives[life]);
            if let Some(life) = life.filter(|life| life.crashed_ms.is_some()) {
                let key = (life.group.as_str(), targets::address(scrape.target));
                scraped.entry(key).or_default().insert(scrape.at_ms);
            }
        }
        for ((group, instance), times) in scraped {
            for (from, to) in times.iter().zip(times.iter().skip(1)) {
                let missed = (to - from + record.interval_ms / 2) / record.interval_ms - 1;
                if missed <= 0 || record.was_unsteady(group, *from, *to) {
                    continue;
                }
                self.missed = self.missed.max(missed);
                // Shorter intervals have several slots while the old owner knows that
                // the target is another's and that one does not.
                let handover_ms = record.news_ms(group, *from, *to) + CLAIMING_MS;
                if missed > 1 && to - from > 2 * record.interval_ms + handover_ms {
                    self.breaks(format!(
                        "{missed} slots of {instance} in {group} missed from {from} to {to}"
                    ));
                }
            }
        }
    }

    /// Every target's samples arrive again soon after the last fault is over.
    pub(super) fn recovery(&mut self, record: &Record) {
        let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for arrival in &record.arrivals {
            if arrival.at_ms < record.over_ms || number(arrival).is_none() {
                continue;
            }
            let label = |name| arrival.labels.get(name).unwrap_or_default();
            let key = (label("instance"), label(REPLICA));
            first.entry(key).or_insert(arrival.at_ms);
        }
        let expected = record.targets * record.groups.len();
        if first.len() < expected {
            self.breaks(format!("{} of {expected} targets flow again", first.len()));
        }
        let last = first.values().max().copied().unwrap_or(record.over_ms);
        self.recovery_ms = (last - record.over_ms - record.interval_ms).max(0);
        let given_ms = record.given_ms().max(record.presumed_ms());
        if self.recovery_ms > RECOVERY_MS.max(given_ms) {
            self.breaks(format!("flowing again only after {} ms", self.recovery_ms));
        }
    }
}

// === impl Record ===

impl Record {
    /// What a life that was killed had scraped before this is on its disk, and another
    /// life has found it, unless the disk went with the pod.
    fn kept_until_ms(&self, life: &Life) -> Option<i64> {
        let crashed_ms = life.crashed_ms?;
        let mut others = self.lives.iter();
        let is_back = others.any(|it| it.name == life.name && it.began_ms >= crashed_ms);
        let after_ms = self.spill_after_ms.filter(|_| is_back && !life.lost_disk)?;
        Some(crashed_ms - after_ms - SPILLING_MS - READING_MS)
    }

    /// For how long of this time some receivers of the group knew of a change of its
    /// members and others did not, at most.
    fn news_ms(&self, group: &str, from_ms: i64, to_ms: i64) -> i64 {
        let news = self.news_ms.iter().filter(|(of, ..)| of == group);
        let within = news.map(|(_, from, to)| (*to).min(to_ms) - (*from).max(from_ms));
        within.filter(|ms| *ms > 0).sum()
    }

    /// For how long Exports were under way that had begun before all was over, and
    /// the next attempt: a hanging backend keeps what it has swallowed until its
    /// deadline, and a lane whose requests took long has a later one.
    fn given_ms(&self) -> i64 {
        let lives = self.lives.iter();
        let lives = lives.filter(|life| life.crashed_ms.is_none_or(|ms| ms > self.over_ms));
        let sent = lives.flat_map(|life| &life.sent);
        let under_way = sent.filter(|sent| sent.at_ms < self.over_ms);
        let ends = under_way.map(|sent| sent.ended_ms - self.over_ms);
        ends.max().map_or(0, |left_ms| left_ms + RESUMING_MS)
    }

    /// When a receiver was killed that had something waiting, or had told the others that
    /// its disk may have some.
    fn may_have_left_ms(&self, life: &Life) -> Option<i64> {
        let has_some = life.account.waiting > 0 || self.spill_after_ms.is_some();
        life.crashed_ms.filter(|_| has_some)
    }

    /// For how long it was presumed that something waited in receivers that were killed
    /// with a backlog and did not come back.
    fn presumed_ms(&self) -> i64 {
        let is_last = |life: &&Life| {
            let mut others = self.lives.iter();
            !others.any(|it| it.name == life.name && it.began_ms > life.began_ms)
        };
        let gone = self.lives.iter().filter(is_last);
        let until_ms = gone.filter_map(|life| self.presumed_until_ms(life));
        until_ms.max().map_or(0, |ms| ms - self.over_ms)
    }

    /// What may wait in a receiver that was killed others wait for until it has not
    /// answered for --shard.handover-timeout, or --shard.away-timeout where it may be on
    /// its disk, and for two rounds of asking, in which it is found silent and then gone.
    pub(super) fn presumed_until_ms(&self, life: &Life) -> Option<i64> {
        let timeout = match self.spill_after_ms {
            Some(_) if !life.lost_disk => AWAY_TIMEOUT,
            _ => HANDOVER_TIMEOUT,
        };
        let killed_ms = self.may_have_left_ms(life)?;
        Some(killed_ms + timeout.as_millis() as i64 + 2 * ROUND_MS)
    }

    fn was_unsteady(&self, group: &str, from_ms: i64, to_ms: i64) -> bool {
        let mut times = self.unsteady_ms.iter().filter(|(of, ..)| of == group);
        times.any(|(_, from, to)| *from <= to_ms && from_ms <= *to)
    }
}

// === impl Life ===

impl Life {
    /// Whether the receiver went away, or let go of targets, while it asked for this.
    fn was_reading(&self, scrape: &Served) -> bool {
        let ends = self.crashed_ms.iter().chain(&self.stopped_ms);
        let mut ends = ends.chain(&self.shared_ms);
        let asked_ms = scrape.at_ms - ASKING_MS;
        ends.any(|end| (asked_ms..=scrape.at_ms + READING_MS).contains(end))
    }
}

/// Samples of one scrape: four of the target's, and five that tell of the scrape.
const SAMPLES: u64 = 9;

/// The scrapes that a life sent.
fn numbers(life: &Life) -> impl Iterator<Item = (String, u64)> {
    let batches = life.departed().into_iter();
    batches.filter_map(|batch| Some((batch.instance.clone(), batch.number?)))
}

/// The life of the receiver that asked.
fn life_of(scrape: &Served, lives: &[Life]) -> Option<usize> {
    let began_before = |life: &Life| life.name == scrape.by && life.began_ms <= scrape.at_ms;
    lives.iter().rposition(began_before)
}
