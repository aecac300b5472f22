//! A small run without any failure, and the judgement after single changes.

use mesh_model::labels::METRIC_NAME;

use super::*;
use crate::chaos::{
    cluster::{ClockStep, Period},
    pod::Lifetime,
    record::{Receiver, Scrape, Target},
    scenario::Refused,
};
use harness::{account::Account, arrivals::JOB};
use stand_ins::{
    amp::{Arrival, Outcome, Value},
    otel,
    sample_app::SCRAPES,
};

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

fn lifetime(began: i64) -> Lifetime {
    Lifetime {
        started_ms: began * SECOND,
        ..Lifetime::default()
    }
}

fn receiver(name: &str, pushed: u64) -> Receiver {
    Receiver {
        name: name.to_owned(),
        replica: "a",
        lifetimes: vec![Lifetime {
            stopped_ms: Some(100 * SECOND),
            ..lifetime(0)
        }],
        spills: false,
        accounts: vec![Account {
            pushed,
            stored: pushed,
            ..Account::default()
        }],
    }
}

/// One target, scraped in seconds 11 to 20, first by `first` and then by `second`.
fn good_run() -> Record {
    let mut record = Record {
        elections: 1,
        receivers: vec![receiver("first", 10), receiver("second", 10)],
        acknowledged: vec![1, 2],
        interval_ms: SECOND,
        flows: 2,
        fault_end_ms: 12 * SECOND,
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

/// Judges a run that is good but for `change`.
fn judge_with(change: impl FnOnce(&mut Record)) -> Judgement {
    let mut record = good_run();
    change(&mut record);
    judge(&record)
}

#[track_caller]
fn assert_violation(judgement: &Judgement, about: &str) {
    let violations: Vec<_> = judgement.all_violations().collect();
    assert!(
        violations.iter().any(|c| c.contains(about)),
        "{violations:?}"
    );
}

fn remove_arrivals(record: &mut Record, second: i64) {
    let of_scrape = |a: &Arrival| a.timestamp == second * SECOND && a.labels.get("job").is_some();
    record.arrivals.retain(|a| !of_scrape(a));
}

/// Removes a scrape as if its slot had been missed.
fn miss_slot(record: &mut Record, second: i64) {
    remove_arrivals(record, second);
    let served = &mut record.targets[0].served;
    served.retain(|scrape| scrape.at_ms != second * SECOND);
    // The scrapes after it get other numbers.
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
fn passes_a_run_without_failures() {
    let judgement = judge_with(|_| {});
    assert!(judgement.passed(), "{judgement:?}");
    assert_eq!((judgement.lost, judgement.missed_slots), (0, 0));
}

#[test]
fn judges_the_second_destination_too() {
    let second = judge_with(|record| record.arrivals[4].outcome = Outcome::OutOfOrder);
    let merged = judge_with(|_| {}).merge(second);
    assert_eq!(merged.out_of_order, 1);
    assert_violation(
        &merged,
        "second destination: 1 samples arrived out of order",
    );
}

#[test]
fn a_removed_destination_must_have_had_pending_samples() {
    let removed = |expired: u64| {
        judge_with(move |record| {
            record.rules.removes_second = true;
            let account = &mut record.receivers[0].accounts[0];
            account
                .expired
                .insert("destination_removed".to_owned(), expired);
            account.stored -= expired;
        })
    };
    assert!(!removed(2).all_violations().any(|it| it.contains("expired")));
    assert_violation(&removed(0), "nothing was pending");
}

#[test]
fn counts_the_samples_of_a_missing_scrape_as_lost() {
    let judgement = judge_with(|record| remove_arrivals(record, 13));
    assert_eq!(judgement.lost, 2);
    assert_violation(&judgement, "scrape 3");
    assert_violation(&judgement, "20 acquired, 18 arrived");
}

#[test]
fn counts_a_missing_sample_of_a_scrape_as_lost() {
    let judgement = judge_with(|record| {
        record.arrivals.remove(5);
    });
    assert_eq!(judgement.lost, 1);
}

#[test]
fn counts_an_acknowledged_push_that_is_not_stored_as_lost() {
    let judgement = judge_with(|record| record.acknowledged.push(3));
    assert_eq!(judgement.lost, 1);
    assert_violation(&judgement, "1 acknowledged pushes are lost");
}

#[test]
fn permits_losses_from_the_memory_of_a_killed_receiver_only() {
    let killed = |record: &mut Record, second: i64| {
        record.receivers[0].lifetimes[0].killed_ms = Some(second * SECOND);
        record.receivers[0].lifetimes[0].stopped_ms = None;
        record.receivers[0].accounts.clear();
        remove_arrivals(record, 13);
    };
    let judgement = judge_with(|record| killed(record, 15));
    assert!(judgement.passed(), "{judgement:?}");
    assert_eq!((judgement.died, judgement.lost), (2, 0));
    // It should have been delivered long before.
    let judgement = judge_with(|record| killed(record, 30));
    assert_eq!((judgement.died, judgement.lost), (0, 2));
}

#[test]
fn rejects_disorder_within_a_replica() {
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
    let judgement = judge_with(|record| disorder(record, "a"));
    assert_eq!(judgement.out_of_order, 1);
    assert_violation(&judgement, "out of order");
    let judgement = judge_with(|record| disorder(record, "b"));
    assert_eq!((judgement.out_of_order, judgement.overtaken), (0, 1));
    assert!(judgement.passed(), "{judgement:?}");
}

#[test]
fn rejects_two_values_for_one_timestamp() {
    let judgement = judge_with(|record| {
        let mut second = arrival(VALUE, 12, 7.0);
        second.outcome = Outcome::Conflict;
        record.arrivals.push(second);
    });
    assert_eq!(judgement.conflicting, 1);
    assert_violation(&judgement, "two values");
}

#[test]
fn rejects_a_staleness_marker_of_a_running_target() {
    let judgement = judge_with(|record| {
        record.arrivals[5].value = Value::Float(Value::STALE_NAN);
    });
    assert_eq!(judgement.markers, 1);
    assert_violation(&judgement, "staleness markers");
}

#[test]
fn permits_losses_at_repeated_times_only() {
    let set = |record: &mut Record, wrong: i64| {
        record.rules.allows_repeated_times = true;
        record.clock_steps.push(ClockStep {
            pod: "second".to_owned(),
            at_ms: 18 * SECOND - 500,
            offset_ms: wrong * SECOND,
        });
        remove_arrivals(record, 18);
        record.receivers[1].accounts[0].pushed -= 2;
        record.receivers[1].accounts[0].stored -= 2;
    };
    // The second that follows 17 by this clock is 19.
    let back = judge_with(|record| {
        set(record, -1);
        for arrival in &mut record.arrivals {
            arrival.timestamp -= if arrival.timestamp > 18 * SECOND {
                SECOND
            } else {
                0
            };
        }
    });
    assert!(back.passed(), "{back:?}");
    assert_eq!((back.repeated, back.lost), (2, 0));
    let ahead = judge_with(|record| set(record, 1));
    assert_eq!((ahead.repeated, ahead.lost), (0, 2));
    assert_violation(&ahead, "no time was repeated");
}

#[test]
fn counts_a_late_scrape_for_its_slot() {
    let judgement = judge_with(|record| {
        for arrival in &mut record.arrivals {
            arrival.timestamp += if arrival.timestamp == 13 * SECOND {
                800
            } else {
                0
            };
        }
    });
    assert_eq!(judgement.missed_slots, 0);
    assert!(judgement.passed(), "{judgement:?}");
}

#[test]
fn rejects_a_missed_slot_without_a_reason() {
    let judgement = judge_with(|record| miss_slot(record, 13));
    assert_eq!(judgement.missed_slots, 1);
    assert_violation(&judgement, "1 slots of");
}

#[test]
fn permits_one_missed_slot_per_move_and_those_of_a_dead_owner() {
    let judgement = judge_with(|record| miss_slot(record, 15));
    assert_eq!(judgement.missed_slots, 1);
    assert!(judgement.passed(), "{judgement:?}");
    let two = |record: &mut Record| {
        miss_slot(record, 15);
        miss_slot(record, 16);
    };
    assert_violation(&judge_with(two), "2 slots of");
    let twice = |record: &mut Record| {
        two(record);
        record.changes = vec![("a", 15 * SECOND), ("a", 16 * SECOND), ("b", 16 * SECOND)];
    };
    assert!(judge_with(twice).passed());
    let stale_views = |record: &mut Record| {
        two(record);
        record.stale_views.push(Period {
            pod: "second".to_owned(),
            from_ms: 15 * SECOND,
            to_ms: 16 * SECOND,
        });
    };
    assert!(judge_with(stale_views).passed());
    let dead = |record: &mut Record, until: i64| {
        for second in [13, 14, 15] {
            miss_slot(record, second);
        }
        record.absences.push(Period {
            pod: "first".to_owned(),
            from_ms: 12 * SECOND + 500,
            to_ms: until,
        });
    };
    assert!(judge_with(|record| dead(record, 15 * SECOND)).passed());
    assert_violation(
        &judge_with(|record| dead(record, 12 * SECOND + 900)),
        "3 slots of",
    );
}

#[test]
fn rejects_accounts_that_do_not_balance_or_agree_with_the_ledger() {
    let judgement = judge_with(|record| record.receivers[0].accounts[0].waiting = 1);
    assert_violation(&judgement, "does not balance");
    let judgement = judge_with(|record| {
        record.receivers[0].accounts[0].stored -= 1;
        record.receivers[0].accounts[0].deduplicated += 1;
    });
    assert_violation(&judgement, "the accounts say that");
    let judgement = judge_with(|record| record.receivers[0].accounts.clear());
    assert_violation(&judgement, "no final account");
}

#[test]
fn requires_an_account_of_each_expired_sample() {
    let expired = |record: &mut Record, accounted: u64| {
        record.rules.allows_expiry = true;
        remove_arrivals(record, 13);
        let account = &mut record.receivers[0].accounts[0];
        account.stored -= accounted;
        account.expired.insert("too_old".to_owned(), accounted);
    };
    let judgement = judge_with(|record| expired(record, 2));
    assert!(judgement.passed(), "{judgement:?}");
    assert_eq!((judgement.expired, judgement.lost), (2, 0));
    assert_violation(
        &judge_with(|record| expired(record, 1)),
        "the accounts say that",
    );
}

#[test]
fn counts_a_sample_refused_without_a_reason_as_lost() {
    let refuse = |record: &mut Record| record.arrivals[5].outcome = Outcome::Refused;
    assert_eq!(judge_with(refuse).lost, 1);
    let judgement = judge_with(|record| {
        refuse(record);
        record.rules.refuses = Some(Refused::Metric(VALUE));
    });
    assert_eq!((judgement.lost, judgement.refused), (0, 1));
    assert!(judgement.passed(), "{judgement:?}");
}

#[test]
fn checks_all_limits() {
    assert_violation(
        &judge_with(|r| r.peak_memory = MEMORY_BOUND + 1),
        "MiB of memory",
    );
    assert_violation(&judge_with(|r| r.elections = 2), "2 elections");
    assert_violation(&judge_with(|r| r.acknowledged.clear()), "no push");
    assert_violation(&judge_with(|r| r.flows = 3), "never flowed");
    let late = |record: &mut Record| record.fault_end_ms = -SECOND;
    assert_violation(&judge_with(late), "until all samples flowed");
    assert_violation(&judge_with(|r| r.violations.push("x".to_owned())), "x");
}
