//! Runs in which one law each is broken: the judge has to say so.

use std::collections::BTreeMap;

use mesh_contract::verdict::{self, Reason};
use mesh_model::labels::Labels;
use mesh_outbox::Expiry;

use super::*;
use crate::{ tap::Scraped, targets::{VALUE, address}, world::START_MS, };

mod silence;

const INTERVAL_MS: i64 = 15_000;
const OVER_MS: i64 = START_MS + 50_000;
/// Series of a scrape; the others are those that promesh adds.
const NAMES: [&str; 9] = [SCRAPES, VALUE, "v1", "v2", "up", "s1", "s2", "s3", "s4"];

/// A receiver that scrapes one target six times, all of which arrives.
fn good(groups: &[&str]) -> Record {
    let mut record = Record {
        seed: 1,
        interval_ms: INTERVAL_MS,
        targets: 1,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        over_ms: OVER_MS,
        ..Record::default()
    };
    for (at, group) in groups.iter().enumerate() {
        record.lives.push(Life {
            name: format!("receiver-{group}-0"),
            group: (*group).to_owned(),
            began_ms: START_MS,
            ..Life::default()
        });
        for slot in 0..6 {
            let time_ms = START_MS + slot * INTERVAL_MS + at as i64 * 100 + 1;
            scrape(&mut record, at, time_ms);
        }
    }
    record
}

/// Lets a life scrape at a time, and all of it arrive soon.
fn scrape(record: &mut Record, life: usize, time_ms: i64) {
    let number = record.served.len() as u64 + 1;
    let outcome = match life {
        0 => Outcome::Stored,
        _ => Outcome::Deduplicated,
    };
    let replica = record.replica(&record.lives[life].group).to_owned();
    for name in NAMES {
        let labels = [
            (METRIC_NAME, name),
            ("instance", &address(0)),
            (REPLICA, &replica),
        ];
        record.arrivals.push(Arrival {
            request: number,
            at_ms: time_ms + 50,
            labels: Labels::from_iter(labels.into_iter().filter(|(_, v)| !v.is_empty())),
            timestamp: time_ms,
            value: Value::Float((number as f64).to_bits()),
            outcome,
        });
    }
    let life = &mut record.lives[life];
    record.served.push(Served {
        target: 0,
        number,
        by: life.name.clone(),
        at_ms: time_ms,
    });
    let mut verdict = verdict::Verdict::default();
    match outcome {
        Outcome::Stored => life.account.stored += 9,
        _ => (verdict.deduplicated, life.account.deduplicated) = (9, life.account.deduplicated + 9),
    }
    life.account.pushed += 9;
    life.sent.push(Sent {
        batches: vec![Scraped {
            instance: address(0),
            time_ms,
            number: Some(number),
            samples: 9,
        }],
        at_ms: time_ms + 10,
        ended_ms: time_ms + 100,
        verdict: Some((verdict, time_ms + 100)),
    });
}

/// What the judge says of a run of `groups` that `broken` has been done to.
fn judged(groups: &[&str], broken: impl FnOnce(&mut Record)) -> Vec<String> {
    let mut record = good(groups);
    assert_eq!(judge(&record).broken, Vec::<String>::new());
    broken(&mut record);
    judge(&record).broken
}

#[track_caller]
fn complains(of: &str, broken: impl FnOnce(&mut Record)) {
    let said = judged(&["a"], broken);
    assert!(said.iter().any(|law| law.contains(of)), "{said:?}");
}

/// Takes the last scrape's Export back, as if it had not been sent.
fn unsend(record: &mut Record) {
    record.lives[0].sent.pop();
    record.lives[0].account.stored -= 9;
    record.arrivals.truncate(record.arrivals.len() - 9);
}

#[test]
fn an_outcome_that_must_not_be_is_told() {
    for outcome in [
        Outcome::Conflict,
        Outcome::TooOld,
        Outcome::OutOfOrder,
        Outcome::Refused,
        Outcome::Deduplicated,
    ] {
        complains(&format!("{}: ", outcome.as_str()), |record| {
            record.arrivals[20].outcome = outcome;
        });
    }
}

#[test]
fn disorder_is_excused_by_another_replica_only() {
    let late = |own_newest_ms: i64| {
        move |record: &mut Record| {
            // The other replica's first sample comes after the elected one's last.
            let mut arrival = record.arrivals[54].clone();
            arrival.at_ms = OVER_MS + 40_000;
            arrival.outcome = Outcome::OutOfOrder;
            let mut newer = arrival.clone();
            (newer.timestamp, newer.outcome) = (own_newest_ms, Outcome::Stored);
            record.arrivals.extend([newer, arrival]);
        }
    };
    let disorder = |said: Vec<String>| said.iter().any(|law| law.starts_with("out_of_order"));
    assert!(!disorder(judged(&["a", "b"], late(START_MS))));
    assert!(disorder(judged(&["a", "b"], late(OVER_MS))));
}

#[test]
fn what_a_slow_backend_stores_after_its_deadline_is_excused_once() {
    let late = |slow_ms: (i64, i64)| {
        move |record: &mut Record| {
            let mut again = record.arrivals[0].clone();
            (again.at_ms, again.outcome) = (OVER_MS, Outcome::OutOfOrder);
            record.arrivals.push(again);
            record.slow_ms = vec![slow_ms];
        }
    };
    let disorder = |said: Vec<String>| said.iter().any(|law| law.starts_with("out_of_order"));
    assert!(!disorder(judged(&["a"], late((START_MS, OVER_MS)))));
    assert!(disorder(judged(&["a"], late((START_MS, OVER_MS - 1)))));
    // Neither what a lane waits for, nor what was not stored, is a repetition.
    let waits = judged(&["a"], |record| {
        late((START_MS, OVER_MS))(record);
        record.lives[0].sent[0].ended_ms = OVER_MS;
    });
    assert!(disorder(waits));
    let other = judged(&["a"], |record| {
        late((START_MS, OVER_MS))(record);
        record.arrivals[0].outcome = Outcome::Refused;
    });
    assert!(disorder(other));
}

#[test]
fn a_refusal_is_excused_while_it_is_told() {
    let refused = |record: &mut Record| {
        let arrival = &mut record.arrivals[1];
        assert_eq!(arrival.labels.get(METRIC_NAME), Some(VALUE));
        arrival.outcome = Outcome::Refused;
        let (answer, _) = record.lives[0].sent[0].verdict.as_mut().unwrap();
        answer.reject(Reason::Refused, 1);
        let account = &mut record.lives[0].account;
        account.stored -= 1;
        account.rejected.insert(Reason::Refused, 1);
    };
    let told = judged(&["a"], |record| {
        refused(record);
        record.refusing_ms = vec![(START_MS, START_MS + 1_000)];
    });
    assert_eq!(told, Vec::<String>::new());
    complains("refused: ", refused);
}

#[test]
fn a_marker_in_a_target_s_life_is_told() {
    complains("staleness marker", |record| {
        record.arrivals[20].value = Value::Float(0x7ff0_0000_0000_0002);
    });
}

#[test]
fn what_was_answered_has_to_have_arrived() {
    complains("answered", |record| drop(record.arrivals.remove(20)));
    complains("answered", |record| {
        record.arrivals[20].outcome = Outcome::OutOfOrder;
    });
    complains("answered", |record| record.arrivals[20].at_ms += 10_000);
}

#[test]
fn what_arrives_has_to_have_been_sent_by_one() {
    complains("were sent", |record| {
        let mut arrival = record.arrivals[20].clone();
        arrival.timestamp += 1;
        record.arrivals.push(arrival);
    });
    complains("sent", |record| {
        let mut other = record.lives[0].clone();
        other.name = "receiver-a-1".to_owned();
        record.lives.push(other);
    });
    complains("sent after its answer", |record| {
        let again = record.lives[0].sent[0].clone();
        record.lives[0].sent.push(again);
    });
}

#[test]
fn accounts_have_to_agree_with_what_was_sent() {
    complains("does not balance", |record| {
        record.lives[0].account.pushed += 9
    });
    complains("samples were sent", |record| {
        let account = &mut record.lives[0].account;
        (account.pushed, account.waiting) = (account.pushed + 9, 9);
    });
    complains("expired", |record| {
        let account = &mut record.lives[0].account;
        account.pushed += 9;
        account.expired = BTreeMap::from([(Expiry::OutboxFull, 9)]);
    });
    complains("the answers say", |record| {
        let account = &mut record.lives[0].account;
        (account.stored, account.deduplicated) = (account.stored - 1, 1);
    });
}

#[test]
fn a_scrape_may_be_lost_with_its_receiver_only() {
    complains("lost: ", |record| {
        unsend(record);
        record.lives[0].account.pushed -= 9;
    });
    let died = judged(&["a"], |record| {
        unsend(record);
        record.over_ms -= INTERVAL_MS;
        let life = &mut record.lives[0];
        life.account.waiting = 9;
        life.crashed_ms = Some(START_MS + 6 * INTERVAL_MS);
    });
    assert_eq!(died, Vec::<String>::new());
    // Not more of them than it had in memory.
    complains("lost: ", |record| {
        unsend(record);
        unsend(record);
        let life = &mut record.lives[0];
        life.account.pushed -= 9;
        life.account.waiting = 9;
        life.crashed_ms = Some(START_MS + 6 * INTERVAL_MS);
    });
}

#[test]
fn a_scrape_that_was_being_read_is_not_acquired() {
    let stopped = |after_ms: i64| {
        judged(&["a"], |record| {
            unsend(record);
            record.over_ms -= INTERVAL_MS;
            record.lives[0].account.pushed -= 9;
            record.lives[0].stopped_ms = record.served.last().map(|s| s.at_ms + after_ms);
        })
    };
    assert_eq!(stopped(500), Vec::<String>::new());
    assert!(stopped(1_500)[0].starts_with("lost: "));
}

#[test]
fn more_than_one_slot_missed_is_told_where_nothing_was_unsteady() {
    let gap = |record: &mut Record, slots: i64| {
        scrape(record, 0, START_MS + (5 + slots) * INTERVAL_MS + 1);
    };
    assert_eq!(
        judged(&["a"], |record| gap(record, 2)),
        Vec::<String>::new()
    );
    complains("2 slots of", |record| gap(record, 3));
    let unsteady = judged(&["a"], |record| {
        gap(record, 3);
        let crashed_ms = START_MS + 6 * INTERVAL_MS;
        record.unsteady_ms = vec![("a".to_owned(), crashed_ms, crashed_ms + 1)];
    });
    assert_eq!(unsteady, Vec::<String>::new());
}

#[test]
fn a_slot_whose_samples_died_was_not_missed() {
    let died = judged(&["a"], |record| {
        for slot in 6..9 {
            scrape(record, 0, START_MS + slot * INTERVAL_MS + 1);
        }
        unsend(record);
        unsend(record);
        unsend(record);
        let life = &mut record.lives[0];
        life.account.waiting = 27;
        life.crashed_ms = Some(START_MS + 9 * INTERVAL_MS);
        let mut other = record.lives[0].clone();
        other.began_ms = START_MS + 9 * INTERVAL_MS;
        (other.crashed_ms, other.account, other.sent) = Default::default();
        record.lives.push(other);
        scrape(record, 1, START_MS + 9 * INTERVAL_MS + 1);
        for arrival in record.arrivals.iter_mut().rev().take(9) {
            arrival.outcome = Outcome::Stored;
        }
        let account = &mut record.lives[1].account;
        (account.stored, account.deduplicated) = (9, 0);
        let (verdict, _) = record.lives[1].sent[0].verdict.as_mut().unwrap();
        verdict.deduplicated = 0;
    });
    assert_eq!(died, Vec::<String>::new());
}

#[test]
fn slots_are_missed_while_some_know_of_a_move_and_others_do_not() {
    let gap = |lag_ms: i64| {
        judged(&["a"], |record| {
            scrape(record, 0, START_MS + 8 * INTERVAL_MS + 1);
            let from_ms = START_MS + 6 * INTERVAL_MS;
            record.news_ms = vec![("a".to_owned(), from_ms, from_ms + lag_ms)];
        })
    };
    assert_eq!(gap(INTERVAL_MS), Vec::<String>::new());
    assert!(gap(INTERVAL_MS - 1_000)[0].starts_with("2 slots of"));
}

#[test]
fn an_exporter_cannot_know_which_samples_another_replica_has_overtaken() {
    let of_request = |overtaken: usize, rejected: u64, is_joined: bool| {
        judged(&["a", "b"], |record| {
            if is_joined {
                let mut other = record.arrivals[54].clone();
                let mut labels = other.labels.to_builder();
                labels.set("instance", "of another Export");
                (other.labels, other.outcome) = (labels.build(), Outcome::OutOfOrder);
                record.arrivals.push(other);
            }
            for arrival in &mut record.arrivals[54..63] {
                arrival.outcome = Outcome::Stored;
            }
            for arrival in &mut record.arrivals[54..54 + overtaken] {
                arrival.outcome = Outcome::OutOfOrder;
            }
            let life = &mut record.lives[1];
            life.account.deduplicated -= 9;
            life.account.stored += 9 - rejected;
            let (answer, _) = life.sent[0].verdict.as_mut().unwrap();
            answer.deduplicated = 0;
            if rejected > 0 {
                answer.reject(Reason::OutOfOrder, rejected);
                let reasons = &mut life.account.rejected;
                reasons.insert(Reason::OutOfOrder, rejected);
            }
        })
    };
    let wrong = |said: Vec<String>| said.iter().any(|law| law.contains("answered"));
    let answered = |overtaken, rejected| of_request(overtaken, rejected, false);
    assert!(!wrong(answered(9, 9)) && !wrong(answered(9, 3)));
    assert!(wrong(answered(9, 0)));
    assert!(!wrong(of_request(9, 0, true)));
    assert!(wrong(of_request(0, 9, true)));
    // It takes a scrape for too late as a whole.
    assert!(!wrong(answered(6, 9)) && !wrong(answered(6, 6)));
    assert!(wrong(answered(0, 9)));
}

#[test]
fn samples_that_flow_again_late_are_told() {
    complains("flow again", |record| record.over_ms += 10 * INTERVAL_MS);
    complains("flowing again only after", |record| {
        record.over_ms = START_MS + 5 * INTERVAL_MS;
        for arrival in record.arrivals.iter_mut().skip(45) {
            arrival.at_ms += INTERVAL_MS + 10_001;
        }
    });
    let given = judged(&["a"], |record| {
        record.over_ms = START_MS + 5 * INTERVAL_MS;
        for arrival in record.arrivals.iter_mut().skip(45) {
            arrival.at_ms += INTERVAL_MS + 10_001;
        }
        let (_, at_ms) = record.lives[0].sent[5].verdict.as_mut().unwrap();
        *at_ms += INTERVAL_MS + 10_001;
        record.lives[0].sent[4].ended_ms = record.over_ms + 10_000;
    });
    assert_eq!(given, Vec::<String>::new());
}

#[test]
fn what_was_spilled_is_sent_again_by_the_same_receiver_only() {
    let again = |name: &str| {
        judged(&["a"], |record| {
            record.spill_after_ms = Some(0);
            record.lives[0].crashed_ms = Some(START_MS + 6 * INTERVAL_MS);
            let mut other = record.lives[0].clone();
            other.name = name.to_owned();
            other.crashed_ms = None;
            other.began_ms = START_MS + 6 * INTERVAL_MS;
            record.lives.push(other);
        })
    };
    assert_eq!(again("receiver-a-0"), Vec::<String>::new());
    assert!(again("receiver-a-1")[0].contains("sent Scraped"));
}

#[test]
fn what_was_spilled_is_not_lost() {
    let killed = |after_ms: i64, lost_disk: bool| {
        judged(&["a"], |record| {
            unsend(record);
            record.spill_after_ms = Some(3_000);
            let life = &mut record.lives[0];
            life.lost_disk = lost_disk;
            life.account.waiting = 9;
            let last_ms = record.served.last().map_or(0, |scrape| scrape.at_ms);
            life.crashed_ms = Some(last_ms + after_ms);
            record.over_ms = OVER_MS - INTERVAL_MS;
            let again = Life {
                name: life.name.clone(),
                group: life.group.clone(),
                began_ms: last_ms + after_ms,
                ..Life::default()
            };
            record.lives.push(again);
        })
    };
    assert_eq!(killed(4_500, false), Vec::<String>::new());
    assert!(killed(4_700, false)[0].starts_with("spilled and lost: "));
    assert_eq!(killed(4_700, true), Vec::<String>::new());
}

/// Lets the last scrape arrive so much later than it should, and all be over before it.
fn flow_late(record: &mut Record, late_ms: i64) {
    record.over_ms = START_MS + 5 * INTERVAL_MS;
    for arrival in record.arrivals.iter_mut().skip(45) {
        arrival.at_ms += INTERVAL_MS + late_ms;
    }
    let (_, at_ms) = record.lives[0].sent[5].verdict.as_mut().unwrap();
    *at_ms += INTERVAL_MS + late_ms;
}

#[test]
fn what_may_wait_in_one_that_was_killed_is_waited_for() {
    let killed = |late_ms: i64, lost_disk: bool, is_back: bool| {
        judged(&["a"], |record| {
            flow_late(record, late_ms);
            record.spill_after_ms = lost_disk.then_some(0);
            let mut other = Life {
                name: "receiver-a-1".to_owned(),
                group: "a".to_owned(),
                began_ms: START_MS,
                crashed_ms: Some(record.over_ms),
                lost_disk,
                ..Life::default()
            };
            (other.account.pushed, other.account.waiting) = (9, 9);
            record.lives.push(other.clone());
            if is_back {
                other.crashed_ms = None;
                other.began_ms = record.over_ms;
                other.account = Account::default();
                record.lives.push(other);
            }
        })
    };
    for lost_disk in [false, true] {
        assert_eq!(killed(11_000, lost_disk, false), Vec::<String>::new());
        for (late_ms, is_back) in [(13_000, false), (11_000, true)] {
            let broken = killed(late_ms, lost_disk, is_back);
            assert!(broken[0].starts_with("flowing again only after"));
        }
    }
}
