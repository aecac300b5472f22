//! A small run in which all is well, and what the judge says when one thing is not.

use mesh_model::labels::METRIC_NAME;

use super::*;
use stand_ins::{amp::{Arrival, Outcome, Value}, otel, sample_app::SCRAPES};
use harness::{books::Account, mesh::JOB};
use crate::chaos::{ pod::Life, record::{Receiver, Scrape, Target}, scenario::Refused, world::{ClockStep, Spell}, };

const TARGET: &str = "127.20.2.1:19100";
const VALUE: &str = "test_gauge0";
const SECOND: i64 = 1_000;

fn arrival(name: &str, second: i64, value: f64) -> Arrival {
    let labels = [
        (METRIC_NAME, name),
        ("job", JOB),
        ("instance", TARGET),
        ("__replica__", "a"),
    ];
    Arrival {
        request: 1,
        at_ms: second * SECOND,
        labels: labels.into_iter().collect(),
        timestamp: second * SECOND,
        value: Value::Float(value.to_bits()),
        outcome: Outcome::Stored,
    }
}

fn push(orders: u64, second: i64) -> Arrival {
    Arrival {
        labels: [(METRIC_NAME, otel::COUNTER)].into_iter().collect(),
        ..arrival(otel::COUNTER, second, orders as f64)
    }
}

fn life(began: i64) -> Life {
    Life {
        began_ms: began * SECOND,
        ..Life::default()
    }
}

fn receiver(name: &str, pushed: u64) -> Receiver {
    Receiver {
        name: name.to_owned(),
        replica: "a",
        lives: vec![Life {
            stopped_ms: Some(100 * SECOND),
            ..life(0)
        }],
        spills: false,
        accounts: vec![Account {
            pushed,
            stored: pushed,
            ..Account::default()
        }],
    }
}

/// One target, scraped in seconds 11 to 20 by `first` and `second` in halves.
fn well() -> Record {
    let mut record = Record {
        elections: 1,
        receivers: vec![receiver("first", 10), receiver("second", 10)],
        acknowledged: vec![1, 2],
        interval_ms: SECOND,
        flows: 2,
        over_ms: 12 * SECOND,
        ..Record::default()
    };
    let mut served = Vec::new();
    for n in 1..=10 {
        let second = 10 + n;
        served.push(Scrape {
            by: if n <= 5 { "first" } else { "second" }.to_owned(),
            at_ms: second * SECOND,
            samples: 2,
        });
        record.arrivals.push(arrival(SCRAPES, second, n as f64));
        record.arrivals.push(arrival(VALUE, second, n as f64 / 2.0));
    }
    record.arrivals.extend([push(1, 11), push(2, 14)]);
    record.targets.push(Target {
        instance: TARGET.to_owned(),
        served,
    });
    record
}

/// What the judge says once `change` has been done to a run in which all is well.
fn judged(change: impl FnOnce(&mut Record)) -> Judgement {
    let mut record = well();
    change(&mut record);
    judge(&record)
}

#[track_caller]
fn complains(judgement: &Judgement, about: &str) {
    let complaints = &judgement.complaints;
    assert!(
        complaints.iter().any(|c| c.contains(about)),
        "{complaints:?}"
    );
}

fn forget(record: &mut Record, second: i64) {
    let of_scrape = |a: &Arrival| a.timestamp == second * SECOND && a.labels.get("job").is_some();
    record.arrivals.retain(|a| !of_scrape(a));
}

/// Takes a scrape away as if its slot had been missed.
fn miss(record: &mut Record, second: i64) {
    forget(record, second);
    let served = &mut record.targets[0].served;
    served.retain(|scrape| scrape.at_ms != second * SECOND);
    // The scrapes after it have other numbers.
    let mut number = 0.0;
    for counter in &mut record.arrivals {
        if counter.labels.get(METRIC_NAME) == Some(SCRAPES) {
            number += 1.0;
            counter.value = Value::Float(f64::to_bits(number));
        }
    }
    record.receivers[0].accounts[0].pushed -= 2;
    record.receivers[0].accounts[0].stored -= 2;
}

#[test]
fn a_run_in_which_all_is_well_is_good() {
    let judgement = judged(|_| {});
    assert!(judgement.is_good(), "{judgement:?}");
    assert_eq!((judgement.lost, judgement.missed_slots), (0, 0));
}

#[test]
fn a_lost_scrape_is_lost() {
    let judgement = judged(|record| forget(record, 13));
    assert_eq!(judgement.lost, 2);
    complains(&judgement, "scrape 3");
    complains(&judgement, "20 acquired, 18 arrived");
}

#[test]
fn a_lost_sample_of_a_scrape_is_lost() {
    let judgement = judged(|record| {
        record.arrivals.remove(5);
    });
    assert_eq!(judgement.lost, 1);
}

#[test]
fn an_acknowledged_push_that_is_not_stored_is_lost() {
    let judgement = judged(|record| record.acknowledged.push(3));
    assert_eq!(judgement.lost, 1);
    complains(&judgement, "1 samples are lost");
}

#[test]
fn what_died_with_a_receiver_that_had_no_disk_is_no_loss_but_only_that() {
    let killed = |record: &mut Record, second: i64| {
        record.receivers[0].lives[0].killed_ms = Some(second * SECOND);
        record.receivers[0].lives[0].stopped_ms = None;
        record.receivers[0].accounts.clear();
        forget(record, 13);
    };
    let judgement = judged(|record| killed(record, 15));
    assert!(judgement.is_good(), "{judgement:?}");
    assert_eq!((judgement.died, judgement.lost), (2, 0));
    // It had long been delivered, or should have been.
    let judgement = judged(|record| killed(record, 30));
    assert_eq!((judgement.died, judgement.lost), (0, 2));
}

#[test]
fn disorder_is_a_failure_unless_it_is_the_other_replica_s() {
    let disorder = |record: &mut Record, replica: &str| {
        let mut late = arrival(VALUE, 12, 7.0);
        late.timestamp += 1;
        late.outcome = Outcome::OutOfOrder;
        let mut labels = late.labels.to_builder();
        labels.set("__replica__", replica);
        late.labels = labels.build();
        record.arrivals.push(late);
        record.receivers[0].accounts[0].pushed += 1;
        record.receivers[0].accounts[0].rejected += 1;
    };
    let judgement = judged(|record| disorder(record, "a"));
    assert_eq!(judgement.out_of_order, 1);
    complains(&judgement, "out of order");
    let judgement = judged(|record| disorder(record, "b"));
    assert_eq!((judgement.out_of_order, judgement.overtaken), (0, 1));
    assert!(judgement.is_good(), "{judgement:?}");
}

#[test]
fn two_values_for_one_time_are_a_failure() {
    let judgement = judged(|record| {
        let mut second = arrival(VALUE, 12, 7.0);
        second.outcome = Outcome::Conflict;
        record.arrivals.push(second);
    });
    assert_eq!(judgement.conflicting, 1);
    complains(&judgement, "two values");
}

#[test]
fn a_marker_in_a_life_is_a_failure() {
    let judgement = judged(|record| {
        record.arrivals[5].value = Value::Float(Value::STALE_NAN);
    });
    assert_eq!(judgement.markers, 1);
    complains(&judgement, "staleness markers");
}

#[test]
fn a_time_that_a_clock_shows_again_is_no_loss_but_only_that() {
    let set = |record: &mut Record, wrong: i64| {
        record.rules.repeats = true;
        record.clock_steps.push(ClockStep {
            pod: "second".to_owned(),
            at_ms: 18 * SECOND - 500,
            wrong_ms: wrong * SECOND,
        });
        forget(record, 18);
        record.receivers[1].accounts[0].pushed -= 2;
        record.receivers[1].accounts[0].stored -= 2;
    };
    // After 18 - 1 it is 20 - 1 there.
    let back = judged(|record| {
        set(record, -1);
        for arrival in &mut record.arrivals {
            arrival.timestamp -= if arrival.timestamp > 18 * SECOND {
                SECOND
            } else {
                0
            };
        }
    });
    assert!(back.is_good(), "{back:?}");
    assert_eq!((back.repeated, back.lost), (2, 0));
    let ahead = judged(|record| set(record, 1));
    assert_eq!((ahead.repeated, ahead.lost), (0, 2));
    complains(&ahead, "no time came twice");
}

#[test]
fn a_slot_whose_scrape_is_late_is_not_missed() {
    let judgement = judged(|record| {
        for arrival in &mut record.arrivals {
            arrival.timestamp += if arrival.timestamp == 13 * SECOND {
                800
            } else {
                0
            };
        }
    });
    assert_eq!(judgement.missed_slots, 0);
    assert!(judgement.is_good(), "{judgement:?}");
}

#[test]
fn a_slot_is_missed_for_nothing() {
    let judgement = judged(|record| miss(record, 13));
    assert_eq!(judgement.missed_slots, 1);
    complains(&judgement, "1 slots of");
}

#[test]
fn one_slot_may_be_missed_for_a_move_and_those_of_a_dead_owner() {
    let judgement = judged(|record| miss(record, 15));
    assert_eq!(judgement.missed_slots, 1);
    assert!(judgement.is_good(), "{judgement:?}");
    let two = |record: &mut Record| {
        miss(record, 15);
        miss(record, 16);
    };
    complains(&judged(two), "2 slots of");
    let twice = |record: &mut Record| {
        two(record);
        record.changes = vec![("a", 15 * SECOND), ("a", 16 * SECOND), ("b", 16 * SECOND)];
    };
    assert!(judged(twice).is_good());
    let unaware = |record: &mut Record| {
        two(record);
        record.unaware.push(Spell {
            pod: "second".to_owned(),
            from_ms: 15 * SECOND,
            to_ms: 16 * SECOND,
        });
    };
    assert!(judged(unaware).is_good());
    let dead = |record: &mut Record, until: i64| {
        for second in [13, 14, 15] {
            miss(record, second);
        }
        record.absences.push(Spell {
            pod: "first".to_owned(),
            from_ms: 12 * SECOND + 500,
            to_ms: until,
        });
    };
    assert!(judged(|record| dead(record, 15 * SECOND)).is_good());
    complains(
        &judged(|record| dead(record, 12 * SECOND + 900)),
        "3 slots of",
    );
}

#[test]
fn accounts_have_to_balance_and_to_agree() {
    let judgement = judged(|record| record.receivers[0].accounts[0].waiting = 1);
    complains(&judgement, "does not balance");
    let judgement = judged(|record| {
        record.receivers[0].accounts[0].stored -= 1;
        record.receivers[0].accounts[0].deduplicated += 1;
    });
    complains(&judgement, "booked as stored");
    let judgement = judged(|record| record.receivers[0].accounts.clear());
    complains(&judgement, "no final account");
}

#[test]
fn what_expires_has_to_be_booked_to_the_sample() {
    let expired = |record: &mut Record, booked: u64| {
        record.rules.expires = true;
        forget(record, 13);
        let account = &mut record.receivers[0].accounts[0];
        account.stored -= booked;
        account.expired.insert("too_old".to_owned(), booked);
    };
    let judgement = judged(|record| expired(record, 2));
    assert!(judgement.is_good(), "{judgement:?}");
    assert_eq!((judgement.expired, judgement.lost), (2, 0));
    complains(&judged(|record| expired(record, 1)), "booked as expired");
}

#[test]
fn what_is_refused_for_nothing_is_lost() {
    let refuse = |record: &mut Record| record.arrivals[5].outcome = Outcome::Refused;
    assert_eq!(judged(refuse).lost, 1);
    let judgement = judged(|record| {
        refuse(record);
        record.rules.refuses = Some(Refused::Metric(VALUE));
    });
    assert_eq!((judgement.lost, judgement.refused), (0, 1));
    assert!(judgement.is_good(), "{judgement:?}");
}

#[test]
fn bounds_are_kept() {
    complains(
        &judged(|r| r.peak_memory = MEMORY_BOUND + 1),
        "MiB of memory",
    );
    complains(&judged(|r| r.elections = 2), "2 elections");
    complains(&judged(|r| r.acknowledged.clear()), "no push");
    complains(&judged(|r| r.flows = 3), "never flowed");
    let late = |record: &mut Record| record.over_ms = -SECOND;
    complains(&judged(late), "until everything flowed");
    complains(&judged(|r| r.complaints.push("x".to_owned())), "x");
}
