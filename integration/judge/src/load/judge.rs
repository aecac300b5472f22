//! What a run cost, from what the targets served, what the ledger has, and what the
//! receivers say.
//!
//! A receiver's account says what must have arrived of the scrapes it was served:
//! everything it pushed, or, where it was killed, everything but what waited and was not
//! on its disk. What arrived is counted scrape by scrape. Of a target, what a killed
//! receiver took with it is the end of what it scraped: a scrape that is missing while
//! a later one of the same life has arrived is lost, and so is one that the receiver had
//! had the time to spill.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fleet::Life,
    kills::{Kill, Victim},
    ledger::{Counts, Scrapes},
    targets::Served,
};

/// What is known of a run that has ended.
#[derive(Debug)]
pub(super) struct Run {
    /// Time between two scrapes of a target.
    pub(super) interval: Duration,
    /// After how long a receiver spills what waits; `None` where none has a disk.
    pub(super) spill_after: Option<Duration>,
    /// Samples of a scrape, reports included.
    pub(super) samples: usize,
    /// Every scrape that was answered.
    pub(super) served: Vec<Served>,
    /// Every scrape that arrived, by target.
    pub(super) scrapes: Vec<Scrapes>,
    /// What was wrong with samples.
    pub(super) counts: Counts,
    /// The receivers' lives.
    pub(super) lives: Vec<Life>,
    /// Who was killed.
    pub(super) kills: Vec<Kill>,
}

/// What a run cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// Samples that were pushed by a receiver that kept them, and never arrived.
    pub(super) lost: u64,
    /// Samples that killed receivers had been served and took with them.
    pub(super) died: u64,
    /// The most that may be, by their accounts.
    pub(super) may_have_died: u64,
    /// Samples of scrapes that were under way when the receivers stopped.
    pub(super) under_way: u64,
    /// Slots without a scrape while their receiver was down.
    pub(super) missed_down: u64,
    /// Slots without a scrape while their receiver was up.
    pub(super) missed_up: u64,
    /// How long each kill was felt, in the order of the kills.
    pub(super) recoveries: Vec<Duration>,
    /// Laws that were broken, in words.
    pub(super) complaints: Vec<String>,
    /// What took too long. A machine that has more to do than it can may be why.
    pub(super) late: Vec<String>,
}

/// Samples have to flow again this long after a killed process is back.
const MAX_RECOVERY: Duration = Duration::from_secs(10);
/// How much longer than it is told a receiver may need to have a batch on its disk.
const SPILL_TIME: Duration = Duration::from_secs(2);

/// Of which life of a receiver a target was scraped when.
type ByLife<'a> = BTreeMap<(usize, usize), Vec<&'a Served>>;

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut judgement = Judgement::default();
    let arrived = arrivals(run);
    for (life, of_life) in run.lives.iter().zip(served_by_life(run)) {
        judgement.judge_life(run, life, &of_life, &arrived);
    }
    judgement.judge_slots(run);
    judgement.judge_kills(run);
    judgement.judge_counts(run);
    judgement
}

/// How many samples of which scrape of which target have arrived.
fn arrivals(run: &Run) -> BTreeMap<(usize, u32), u64> {
    let targets = run.scrapes.iter().enumerate();
    let all = targets.flat_map(|(target, scrapes)| {
        let of_target = scrapes.values();
        of_target.map(move |scrape| ((target, scrape.number), scrape.arrived as u64))
    });
    all.collect()
}

/// What each life was served, by target.
fn served_by_life(run: &Run) -> Vec<ByLife<'_>> {
    let mut lives: Vec<ByLife<'_>> = vec![ByLife::new(); run.lives.len()];
    for served in &run.served {
        let its = |life: &Life| life.receiver == served.by && served.at_ms < life.until_ms;
        if let Some(i) = run.lives.iter().position(its) {
            let key = (served.by, served.target);
            lives[i].entry(key).or_default().push(served);
        }
    }
    lives
}

// === impl Run ===

impl Run {
    /// Whether a receiver that was killed had had the time to put a scrape on its disk.
    fn is_spilled(&self, life: &Life, served: &Served) -> bool {
        let (Some(killed_ms), Some(after)) = (life.killed_ms, self.spill_after) else {
            return false;
        };
        served.at_ms + ((after + SPILL_TIME).as_millis() as i64) < killed_ms
    }
}

// === impl Judgement ===

impl Judgement {
    /// Whether no law was broken, and nothing took too long.
    pub(super) fn is_good(&self) -> bool {
        self.complaints.is_empty() && self.late.is_empty()
    }

    fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    fn judge_life(
        &mut self,
        run: &Run,
        life: &Life,
        served: &ByLife<'_>,
        arrivals: &BTreeMap<(usize, u32), u64>,
    ) {
        let name = format!("receiver-{}", life.receiver);
        let arrived_of = |served: &Served| {
            let key = (served.target, served.scrape);
            arrivals.get(&key).copied().unwrap_or(0)
        };
        let all = served.values().flatten();
        let arrived: u64 = all.clone().map(|served| arrived_of(served)).sum();
        let given = all.count() as u64 * run.samples as u64;
        let account = &life.account;
        let was_killed = life.killed_ms.is_some();
        if !account.balances() || account.otherwise() > 0 || (account.waiting > 0 && !was_killed) {
            self.complain(format!("{name} ended with {account:?}"));
        }
        let kept = account.kept();
        let mut lost = kept.saturating_sub(arrived);
        if !was_killed && arrived > kept {
            self.complain(format!(
                "{arrived} samples of {name} arrived, it pushed {kept}"
            ));
        }
        if was_killed {
            self.died += given.saturating_sub(arrived);
            self.may_have_died += given.saturating_sub(kept);
        } else {
            self.under_way += given.saturating_sub(arrived);
        }
        for of_target in served.values() {
            let missing =
                |served: &&Served| run.samples as u64 - arrived_of(served).min(run.samples as u64);
            let newest = of_target.iter().rposition(|served| arrived_of(served) > 0);
            let before = of_target.iter().take(newest.unwrap_or(0));
            lost = lost.max(before.map(missing).sum());
            let had_time = of_target
                .iter()
                .filter(|served| run.is_spilled(life, served));
            lost = lost.max(had_time.map(missing).sum());
        }
        if lost > 0 {
            self.lost += lost;
            self.complain(format!("{lost} samples of {name} are lost"));
        }
    }

    /// Finds the slots between two scrapes of a target that have none.
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
                    && before.at_ms < kill.back_ms
                    && kill.at_ms < served.at_ms
            });
            let down: i64 = down.map(|kill| kill.back_ms - kill.at_ms).sum();
            // A slot that begins while the receiver is down, and no other.
            let excused = (down as f64 / run.interval.as_millis() as f64).ceil() as u64;
            self.missed_down += missed.min(excused);
            self.missed_up += missed.saturating_sub(excused);
        }
        if self.missed_up > 0 {
            self.late.push(format!(
                "{} slots were missed by receivers that ran",
                self.missed_up
            ));
        }
    }

    /// How long it took until all was stored that was scraped before the kill of an
    /// exporter, and until all targets of a receiver were scraped and stored again.
    fn judge_kills(&mut self, run: &Run) {
        for kill in &run.kills {
            let (until_ms, limit) = match kill.victim {
                Victim::Exporter(_) => (backlog_stored_ms(run, kill), MAX_RECOVERY),
                Victim::Receiver(i) => {
                    (scraped_again_ms(run, kill, i), MAX_RECOVERY + run.interval)
                }
            };
            let felt = until_ms.saturating_sub(kill.at_ms).max(0);
            self.recoveries
                .push(Duration::from_millis(felt.unsigned_abs()));
            let after = Duration::from_millis((until_ms - kill.well_ms).max(0).unsigned_abs());
            if after > limit {
                self.late.push(format!(
                    "samples flowed {after:?} after {} was back and the backend well",
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
            (counts.markers, "staleness markers inside live series"),
            (counts.unknown, "samples of series that no target has"),
        ] {
            if n > 0 {
                self.complain(format!("{n} {what}"));
            }
        }
    }
}

/// When everything was stored that was scraped before an exporter was killed.
fn backlog_stored_ms(run: &Run, kill: &Kill) -> i64 {
    let scrapes = run.scrapes.iter();
    let before = scrapes.flat_map(|scrapes| scrapes.range(..kill.at_ms));
    let stored = before.filter_map(|(_, scrape)| scrape.complete_ms);
    stored.max().unwrap_or(kill.at_ms)
}

/// When each target that a killed receiver had scraped was stored again.
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
    use harness::books::Account;
    use crate::load::ledger::Scrape;

    const SAMPLES: usize = 10;

    /// One target that receiver 1 scraped every second from 0, of which this many
    /// samples have arrived; its account, and whether it was killed at second 4.
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
            lives: vec![Life {
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

    fn kill(victim: Victim, at_ms: i64, back_ms: i64) -> Kill {
        Kill {
            victim,
            sickness: None,
            at_ms,
            back_ms,
            well_ms: back_ms,
            waiting: 0,
            had: 0,
            on_disk: 0,
        }
    }

    #[test]
    fn what_a_stopped_receiver_pushed_has_arrived() {
        let good = judge(&run(&[10, 10, 10, 0], 30, 0, false));
        assert!(good.is_good(), "{good:?}");
        assert_eq!((good.lost, good.under_way), (0, 10));
        let bad = judge(&run(&[10, 10, 7], 30, 0, false));
        assert_eq!((bad.lost, bad.complaints.len()), (3, 1));
        // Another has arrived in its place, or more than it knows of.
        assert_eq!(judge(&run(&[10, 0, 10, 10], 30, 0, false)).lost, 10);
        assert!(!judge(&run(&[10, 10, 10], 20, 0, false)).is_good());
    }

    #[test]
    fn a_killed_receiver_takes_what_waited_and_no_more() {
        let good = judge(&run(&[10, 10, 4, 0], 40, 20, true));
        assert!(good.is_good(), "{good:?}");
        assert_eq!((good.lost, good.died, good.may_have_died), (0, 16, 20));
        let bad = judge(&run(&[10, 9, 0, 0], 40, 20, true));
        assert_eq!(bad.lost, 1);
        // What waited was the end.
        assert_eq!(judge(&run(&[10, 9, 10, 0], 40, 20, true)).lost, 1);
    }

    #[test]
    fn what_a_killed_receiver_had_on_its_disk_arrives() {
        let mut good = run(&[10, 10, 10, 3], 40, 20, true);
        good.lives[0].account.spilled = 10;
        good.spill_after = Some(Duration::ZERO);
        let judgement = judge(&good);
        assert!(judgement.is_good(), "{judgement:?}");
        assert_eq!((judgement.died, judgement.may_have_died), (7, 10));
        good.lives[0].account.spilled = 20;
        assert_eq!(judge(&good).lost, 7);
        // Its account says nothing of the first two, but it had seconds for them.
        let mut late = run(&[10, 0, 0, 0], 10, 0, true);
        assert_eq!(judge(&late).lost, 0);
        late.spill_after = Some(Duration::ZERO);
        assert_eq!(judge(&late).lost, 10);
        // The next life delivers what is not its own.
        let mut next = run(&[10, 10, 10], 50, 0, false);
        next.lives[0].account.replayed = 20;
        assert!(judge(&next).is_good());
    }

    #[test]
    fn slots_are_missed_by_who_runs_or_is_down() {
        let mut run = run(&[10; 6], 60, 0, false);
        run.served.remove(3);
        run.lives[0].account.pushed = 50;
        let judgement = judge(&run);
        assert_eq!((judgement.missed_up, judgement.missed_down), (1, 0));
        run.kills.push(kill(Victim::Receiver(1), 2500, 3400));
        let judgement = judge(&run);
        assert_eq!((judgement.missed_up, judgement.missed_down), (0, 1));
    }

    #[test]
    fn a_kill_is_felt_until_the_backlog_is_stored() {
        let mut run = run(&[10; 6], 60, 0, false);
        run.scrapes[0].get_mut(&2000).unwrap().complete_ms = Some(9_000);
        let victims = [Victim::Exporter(1), Victim::Receiver(1)];
        run.kills = victims.map(|victim| kill(victim, 2500, 3500)).to_vec();
        let judgement = judge(&run);
        let felt: Vec<_> = judgement.recoveries.iter().map(|r| r.as_millis()).collect();
        assert_eq!(felt, [6_500, 600]);
        assert!(judgement.is_good(), "{judgement:?}");
        run.scrapes[0].get_mut(&2000).unwrap().complete_ms = Some(13_501);
        assert!(!judge(&run).is_good());
    }

    #[test]
    fn what_arrived_wrong_is_told() {
        let mut run = run(&[10], 10, 0, false);
        run.counts.out_of_order = 1;
        run.counts.markers = 2;
        assert_eq!(judge(&run).complaints.len(), 2);
    }
}
