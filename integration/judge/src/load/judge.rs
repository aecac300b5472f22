//! Judges a run. Sources are the responses of the targets, the ledger, and the receivers'
//! accounts.
//!
//! The account of a receiver says which of its scrapes must have arrived: all that it
//! pushed. A killed receiver need not have delivered what was pending and not on its disk.
//! The ledger counts the arrived samples of each scrape.
//!
//! A killed receiver loses only the end of what it scraped. A missing scrape is lost if a
//! later one of the same target and lifetime has arrived. It is also lost if the receiver
//! had the time to spill it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fleet::Lifetime,
    kills::{Kill, Victim},
    ledger::{Counts, Scrapes},
    targets::Served,
};

/// Record of a run that has ended.
#[derive(Debug)]
pub(super) struct Run {
    /// Scrape interval.
    pub(super) interval: Duration,
    /// Age at which receivers spill a batch. `None` if they have no disk.
    pub(super) spill_after: Option<Duration>,
    /// Number of samples in a scrape, including the reports.
    pub(super) samples: usize,
    /// All served scrapes.
    pub(super) served: Vec<Served>,
    /// All arrived scrapes, by target.
    pub(super) scrapes: Vec<Scrapes>,
    /// Counts of the ledger.
    pub(super) counts: Counts,
    /// Lifetimes of the receivers.
    pub(super) lifetimes: Vec<Lifetime>,
    /// Kills, in order.
    pub(super) kills: Vec<Kill>,
}

/// Cost of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// Samples that must have arrived and did not.
    pub(super) lost: u64,
    /// Samples that were served to killed receivers and did not arrive.
    pub(super) died: u64,
    /// Maximum number of such samples, by the accounts.
    pub(super) may_have_died: u64,
    /// Samples of scrapes that were in flight when the receivers stopped.
    pub(super) in_flight: u64,
    /// Slots without a scrape while their receiver was down.
    pub(super) missed_down: u64,
    /// Slots without a scrape while their receiver was running.
    pub(super) missed_up: u64,
    /// Duration of the effects of each kill, in the order of the kills.
    pub(super) recoveries: Vec<Duration>,
    /// Laws that were broken, and that hold on a machine of any speed.
    pub(super) violations: Vec<String>,
    /// Losses that a scrape timeout on a starved machine can cause.
    pub(super) loss_violations: Vec<String>,
    /// Delays. A starved machine can cause them, and `--any-pace` permits them.
    pub(super) timing_violations: Vec<String>,
}

/// Maximum time until samples flow again after a killed process has restarted.
const MAX_RECOVERY: Duration = Duration::from_secs(10);
/// Maximum time to write a batch to disk.
const SPILL_TIME: Duration = Duration::from_secs(2);

/// Scrapes of a lifetime, by receiver and target.
type ByLifetime<'a> = BTreeMap<(usize, usize), Vec<&'a Served>>;

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut judgement = Judgement::default();
    let arrived = arrivals(run);
    for (lifetime, of_lifetime) in run.lifetimes.iter().zip(served_by_lifetime(run)) {
        judgement.judge_lifetime(run, lifetime, &of_lifetime, &arrived);
    }
    judgement.judge_slots(run);
    judgement.judge_kills(run);
    judgement.judge_counts(run);
    judgement
}

/// Number of arrived samples of each scrape, by target and number.
fn arrivals(run: &Run) -> BTreeMap<(usize, u32), u64> {
    let targets = run.scrapes.iter().enumerate();
    let all = targets.flat_map(|(target, scrapes)| {
        let of_target = scrapes.values();
        of_target.map(move |scrape| ((target, scrape.number), scrape.arrived as u64))
    });
    all.collect()
}

/// Scrapes served to each lifetime.
fn served_by_lifetime(run: &Run) -> Vec<ByLifetime<'_>> {
    let mut lifetimes: Vec<ByLifetime<'_>> = vec![ByLifetime::new(); run.lifetimes.len()];
    for served in &run.served {
        let is_served_by = |lifetime: &Lifetime| {
            lifetime.receiver == served.by && served.at_ms < lifetime.until_ms
        };
        if let Some(i) = run.lifetimes.iter().position(is_served_by) {
            let key = (served.by, served.target);
            lifetimes[i].entry(key).or_default().push(served);
        }
    }
    lifetimes
}

// === impl Run ===

impl Run {
    /// Returns `true` if a killed receiver had the time to write a scrape to its disk.
    fn is_spilled(&self, lifetime: &Lifetime, served: &Served) -> bool {
        let (Some(killed_ms), Some(after)) = (lifetime.killed_ms, self.spill_after) else {
            return false;
        };
        served.at_ms + ((after + SPILL_TIME).as_millis() as i64) < killed_ms
    }
}

// === impl Judgement ===

impl Judgement {
    /// Returns `true` if no law was broken.
    pub(super) fn passed(&self) -> bool {
        self.all_violations().next().is_none()
    }

    /// Number of broken laws that fail the run.
    pub(super) fn failures(&self, any_pace: bool) -> usize {
        let permitted = if any_pace {
            self.timing_violations.len()
        } else {
            0
        };
        self.all_violations().count() - permitted
    }

    /// Descriptions of all broken laws.
    pub(super) fn all_violations(&self) -> impl Iterator<Item = &String> {
        let laws = self.violations.iter().chain(&self.loss_violations);
        laws.chain(&self.timing_violations)
    }

    fn violates(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn judge_lifetime(
        &mut self,
        run: &Run,
        lifetime: &Lifetime,
        served: &ByLifetime<'_>,
        arrivals: &BTreeMap<(usize, u32), u64>,
    ) {
        let name = format!("receiver-{}", lifetime.receiver);
        let arrived_of = |served: &Served| {
            let key = (served.target, served.scrape);
            arrivals.get(&key).copied().unwrap_or(0)
        };
        let all = served.values().flatten();
        let arrived: u64 = all.clone().map(|served| arrived_of(served)).sum();
        let served_samples = all.count() as u64 * run.samples as u64;
        let account = &lifetime.account;
        let was_killed = lifetime.killed_ms.is_some();
        if !account.balances() || account.not_stored() > 0 {
            self.violates(format!("{name} ended with {account:?}"));
        } else if account.waiting > 0 && !was_killed {
            self.loss_violations
                .push(format!("{name} ended with {account:?}"));
        }
        let must_arrive = account.durable();
        let mut lost = must_arrive.saturating_sub(arrived);
        if !was_killed && arrived > must_arrive {
            self.violates(format!(
                "{arrived} samples of {name} arrived, it pushed {must_arrive}"
            ));
        }
        if was_killed {
            self.died += served_samples.saturating_sub(arrived);
            self.may_have_died += served_samples.saturating_sub(must_arrive);
        } else {
            self.in_flight += served_samples.saturating_sub(arrived);
        }
        for of_target in served.values() {
            let missing =
                |served: &&Served| run.samples as u64 - arrived_of(served).min(run.samples as u64);
            let newest = of_target.iter().rposition(|served| arrived_of(served) > 0);
            let before = of_target.iter().take(newest.unwrap_or(0));
            lost = lost.max(before.map(missing).sum());
            let spilled = of_target
                .iter()
                .filter(|served| run.is_spilled(lifetime, served));
            lost = lost.max(spilled.map(missing).sum());
        }
        if lost > 0 {
            self.lost += lost;
            self.loss_violations
                .push(format!("{lost} samples of {name} are lost"));
        }
    }

    /// Counts the slots between two scrapes of a target.
    fn judge_slots(&mut self, run: &Run) {
        let mut last: BTreeMap<usize, &Served> = BTreeMap::new();
        for served in &run.served {
            let Some(before) = last.insert(served.target, served) else {
                continue;
            };
            let slots = (served.at_ms - before.at_ms) as f64 / run.interval.as_millis() as f64;
            let missed = (slots.round() as u64).saturating_sub(1);
            let down = run.kills.iter().filter(|kill| {
                kill.victim == Victim::Receiver(before.by)
                    && before.at_ms < kill.restarted_ms
                    && kill.at_ms < served.at_ms
            });
            let down: i64 = down.map(|kill| kill.restarted_ms - kill.at_ms).sum();
            // Only slots that begin while the receiver is down are permitted.
            let permitted = (down as f64 / run.interval.as_millis() as f64).ceil() as u64;
            self.missed_down += missed.min(permitted);
            self.missed_up += missed.saturating_sub(permitted);
        }
        if self.missed_up > 0 {
            self.timing_violations.push(format!(
                "{} slots were missed by running receivers",
                self.missed_up
            ));
        }
    }

    /// Measures the effects of each kill. After an exporter's kill, all earlier scrapes
    /// must be stored. After a receiver's kill, its targets must be scraped and stored
    /// again.
    fn judge_kills(&mut self, run: &Run) {
        for kill in &run.kills {
            let (until_ms, limit) = match kill.victim {
                Victim::Exporter(_) => (backlog_stored_ms(run, kill), MAX_RECOVERY),
                Victim::Receiver(i) => {
                    (scraped_again_ms(run, kill, i), MAX_RECOVERY + run.interval)
                }
            };
            let effect = until_ms.saturating_sub(kill.at_ms).max(0);
            self.recoveries
                .push(Duration::from_millis(effect.unsigned_abs()));
            let after = Duration::from_millis((until_ms - kill.recovered_ms).max(0).unsigned_abs());
            if after > limit {
                self.timing_violations.push(format!(
                    "samples flowed only {after:?} after {} had restarted and the backend had recovered",
                    kill.victim
                ));
            }
        }
    }

    fn judge_counts(&mut self, run: &Run) {
        let counts = run.counts;
        for (n, what) in [
            (counts.out_of_order, "samples arrived out of order"),
            (counts.conflicting, "samples have a second or a wrong value"),
            (counts.unknown, "samples of series that no target has"),
        ] {
            if n > 0 {
                self.violates(format!("{n} {what}"));
            }
        }
        if counts.markers > 0 {
            self.loss_violations.push(format!(
                "{} staleness markers of running targets",
                counts.markers
            ));
        }
    }
}

/// Time at which all scrapes before the kill of an exporter were stored.
fn backlog_stored_ms(run: &Run, kill: &Kill) -> i64 {
    let scrapes = run.scrapes.iter();
    let before = scrapes.flat_map(|scrapes| scrapes.range(..kill.at_ms));
    let stored = before.filter_map(|(_, scrape)| scrape.complete_ms);
    stored.max().unwrap_or(kill.at_ms)
}

/// Time at which all targets of a killed receiver were stored again.
fn scraped_again_ms(run: &Run, kill: &Kill, receiver: usize) -> i64 {
    let mut its = BTreeMap::new();
    for served in run.served.iter().filter(|served| served.at_ms < kill.at_ms) {
        its.insert(served.target, served.by);
    }
    let its = its.into_iter().filter(|(_, by)| *by == receiver);
    let again = its.filter_map(|(target, _)| {
        let after = run.scrapes[target].range(kill.at_ms..);
        after.filter_map(|(_, scrape)| scrape.complete_ms).min()
    });
    again.max().unwrap_or(kill.at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ledger::Scrape;
    use harness::account::Account;

    const SAMPLES: usize = 10;

    /// A target that receiver 1 scraped every second. `arrived` counts the arrived samples
    /// of each scrape. The receiver may have been killed at second 4.
    fn run(arrived: &[usize], pushed: u64, waiting: u64, was_killed: bool) -> Run {
        let served = arrived.iter().enumerate().map(|(second, _)| Served {
            target: 0,
            scrape: second as u32 + 1,
            at_ms: second as i64 * 1000,
            by: 1,
        });
        let scrapes = arrived.iter().enumerate().filter(|(_, n)| **n > 0);
        let scrapes = scrapes.map(|(second, arrived)| {
            let scrape = Scrape {
                number: second as u32 + 1,
                arrived: *arrived,
                complete_ms: (*arrived == SAMPLES).then_some(second as i64 * 1000 + 100),
            };
            (second as i64 * 1000, scrape)
        });
        Run {
            interval: Duration::from_secs(1),
            spill_after: None,
            samples: SAMPLES,
            served: served.collect(),
            scrapes: vec![scrapes.collect()],
            counts: Counts::default(),
            lifetimes: vec![Lifetime {
                receiver: 1,
                until_ms: 60_000,
                account: Account {
                    pushed,
                    stored: pushed - waiting,
                    waiting,
                    ..Account::default()
                },
                killed_ms: was_killed.then_some(4000),
            }],
            kills: Vec::new(),
        }
    }

    fn kill(victim: Victim, at_ms: i64, restarted_ms: i64) -> Kill {
        Kill {
            victim,
            fault: None,
            at_ms,
            restarted_ms,
            recovered_ms: restarted_ms,
            waiting: 0,
            pending: 0,
            on_disk: 0,
        }
    }

    #[test]
    fn requires_all_samples_of_a_stopped_receiver() {
        let good = judge(&run(&[10, 10, 10, 0], 30, 0, false));
        assert!(good.passed(), "{good:?}");
        assert_eq!((good.lost, good.in_flight), (0, 10));
        let bad = judge(&run(&[10, 10, 7], 30, 0, false));
        assert_eq!((bad.lost, bad.loss_violations.len()), (3, 1));
        // Another scrape has arrived in its place, or more than the receiver pushed.
        assert_eq!(judge(&run(&[10, 0, 10, 10], 30, 0, false)).lost, 10);
        assert!(!judge(&run(&[10, 10, 10], 20, 0, false)).passed());
    }

    #[test]
    fn permits_a_killed_receiver_to_lose_pending_samples_only() {
        let good = judge(&run(&[10, 10, 4, 0], 40, 20, true));
        assert!(good.passed(), "{good:?}");
        assert_eq!((good.lost, good.died, good.may_have_died), (0, 16, 20));
        let bad = judge(&run(&[10, 9, 0, 0], 40, 20, true));
        assert_eq!(bad.lost, 1);
        // Only the end of the scrapes may be lost.
        assert_eq!(judge(&run(&[10, 9, 10, 0], 40, 20, true)).lost, 1);
    }

    #[test]
    fn requires_the_samples_on_the_disk_of_a_killed_receiver() {
        let mut good = run(&[10, 10, 10, 3], 40, 20, true);
        good.lifetimes[0].account.spilled = 10;
        good.spill_after = Some(Duration::ZERO);
        let judgement = judge(&good);
        assert!(judgement.passed(), "{judgement:?}");
        assert_eq!((judgement.died, judgement.may_have_died), (7, 10));
        good.lifetimes[0].account.spilled = 20;
        assert_eq!(judge(&good).lost, 7);
        // The account does not contain the first two, but there was time to spill them.
        let mut late = run(&[10, 0, 0, 0], 10, 0, true);
        assert_eq!(judge(&late).lost, 0);
        late.spill_after = Some(Duration::ZERO);
        assert_eq!(judge(&late).lost, 10);
        // The next lifetime delivers the replayed samples.
        let mut next = run(&[10, 10, 10], 50, 0, false);
        next.lifetimes[0].account.replayed = 20;
        assert!(judge(&next).passed());
    }

    #[test]
    fn tells_slots_missed_while_down_from_others() {
        let mut run = run(&[10; 6], 60, 0, false);
        run.served.remove(3);
        run.lifetimes[0].account.pushed = 50;
        let judgement = judge(&run);
        assert_eq!((judgement.missed_up, judgement.missed_down), (1, 0));
        run.kills.push(kill(Victim::Receiver(1), 2500, 3400));
        let judgement = judge(&run);
        assert_eq!((judgement.missed_up, judgement.missed_down), (0, 1));
    }

    #[test]
    fn measures_a_kill_until_the_backlog_is_stored() {
        let mut run = run(&[10; 6], 60, 0, false);
        run.scrapes[0].get_mut(&2000).unwrap().complete_ms = Some(9_000);
        let victims = [Victim::Exporter(1), Victim::Receiver(1)];
        run.kills = victims.map(|victim| kill(victim, 2500, 3500)).to_vec();
        let judgement = judge(&run);
        let effect: Vec<_> = judgement.recoveries.iter().map(|r| r.as_millis()).collect();
        assert_eq!(effect, [6_500, 600]);
        assert!(judgement.passed(), "{judgement:?}");
        run.scrapes[0].get_mut(&2000).unwrap().complete_ms = Some(13_501);
        assert!(!judge(&run).passed());
    }

    #[test]
    fn reports_disorder_and_markers() {
        let mut run = run(&[10], 10, 0, false);
        run.counts.out_of_order = 1;
        run.counts.markers = 2;
        assert_eq!(judge(&run).all_violations().count(), 2);
    }
}
