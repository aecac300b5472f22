//! Damages the record of a good run in one way, and expects the judge to report it.

use std::collections::BTreeMap;

use mesh_contract::verdict::{Reason, Verdict};
use mesh_model::labels::{Labels, METRIC_NAME};
use mesh_outbox::{Account, Expiry};
use stand_ins::amp::{Arrival, Value};

use super::*;
use crate::{
    clock::START_MS,
    exports::{SentBatch, SentExport},
    record::{Process, REPLICA},
    targets::{AnsweredScrape, SCRAPES, VALUE, address},
};

mod silence;

const INTERVAL_MS: i64 = 15_000;
const FAULTS_END_MS: i64 = START_MS + 50_000;
/// Series of a scrape, with those that promesh adds.
const NAMES: [&str; 9] = [SCRAPES, VALUE, "v1", "v2", "up", "s1", "s2", "s3", "s4"];

/// Record of one receiver per group that scrapes one target six times. Every sample arrives.
fn good(groups: &[&str]) -> Record {
    let mut record = Record {
        seed: 1,
        interval_ms: INTERVAL_MS,
        targets: 1,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        faults_end_ms: FAULTS_END_MS,
        ..Record::default()
    };
    for (at, group) in groups.iter().enumerate() {
        record.processes.push(Process {
            name: format!("receiver-{group}-0"),
            group: (*group).to_owned(),
            started_ms: START_MS,
            ..Process::default()
        });
        for slot in 0..6 {
            let time_ms = START_MS + slot * INTERVAL_MS + at as i64 * 100 + 1;
            scrape(&mut record, at, time_ms);
        }
    }
    record
}

/// Adds a scrape by the process with this index. Its samples arrive soon.
fn scrape(record: &mut Record, process: usize, time_ms: i64) {
    let number = record.scrapes.len() as u64 + 1;
    let outcome = match process {
        0 => Outcome::Stored,
        _ => Outcome::Deduplicated,
    };
    let replica = record.replica(&record.processes[process].group).to_owned();
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
    let process = &mut record.processes[process];
    record.scrapes.push(AnsweredScrape {
        target: 0,
        number,
        receiver: process.name.clone(),
        at_ms: time_ms,
    });
    let mut verdict = Verdict::default();
    match outcome {
        Outcome::Stored => process.account.stored += 9,
        _ => {
            verdict.deduplicated = 9;
            process.account.deduplicated += 9;
        }
    }
    process.account.pushed += 9;
    process.exports.push(SentExport {
        batches: vec![SentBatch {
            instance: address(0),
            time_ms,
            number: Some(number),
            samples: 9,
        }],
        at_ms: time_ms + 10,
        ended_ms: time_ms + 100,
        verdict: Some((verdict, time_ms + 100)),
        ..SentExport::default()
    });
}

/// Violations that the judge reports for a run of `groups` after `damage`.
fn violations_after(groups: &[&str], damage: impl FnOnce(&mut Record)) -> Vec<String> {
    let mut record = good(groups);
    assert_eq!(judge_destination(&record).violations, Vec::<String>::new());
    damage(&mut record);
    judge_destination(&record).violations
}

#[track_caller]
fn assert_violation(text: &str, damage: impl FnOnce(&mut Record)) {
    let violations = violations_after(&["a"], damage);
    let is_reported = violations.iter().any(|it| it.contains(text));
    assert!(is_reported, "{violations:?}");
}

/// Removes the Export of the last scrape, as if it had not been sent.
fn remove_last_export(record: &mut Record) {
    record.processes[0].exports.pop();
    record.processes[0].account.stored -= 9;
    record.arrivals.truncate(record.arrivals.len() - 9);
}

#[test]
fn rejects_forbidden_outcomes() {
    for outcome in [
        Outcome::Conflict,
        Outcome::TooOld,
        Outcome::OutOfOrder,
        Outcome::Refused,
        Outcome::Deduplicated,
    ] {
        assert_violation(&format!("{}: ", outcome.as_str()), |record| {
            record.arrivals[20].outcome = outcome;
        });
    }
}

#[test]
fn allows_out_of_order_samples_only_behind_another_replica() {
    let late = |own_newest_ms: i64| {
        move |record: &mut Record| {
            // The other replica's first sample comes after the elected one's last.
            let mut arrival = record.arrivals[54].clone();
            arrival.at_ms = FAULTS_END_MS + 40_000;
            arrival.outcome = Outcome::OutOfOrder;
            let mut newer = arrival.clone();
            (newer.timestamp, newer.outcome) = (own_newest_ms, Outcome::Stored);
            record.arrivals.extend([newer, arrival]);
        }
    };
    let is_disorder =
        |violations: Vec<String>| violations.iter().any(|it| it.contains("out_of_order: "));
    assert!(!is_disorder(violations_after(&["a", "b"], late(START_MS))));
    assert!(is_disorder(violations_after(
        &["a", "b"],
        late(FAULTS_END_MS)
    )));
}

#[test]
fn allows_a_slow_backend_to_repeat_stored_samples() {
    let late = |slow_backend_ms: (i64, i64)| {
        move |record: &mut Record| {
            let mut again = record.arrivals[0].clone();
            (again.at_ms, again.outcome) = (FAULTS_END_MS, Outcome::OutOfOrder);
            record.arrivals.push(again);
            record.slow_backend_ms = vec![slow_backend_ms];
        }
    };
    let is_disorder =
        |violations: Vec<String>| violations.iter().any(|it| it.contains("out_of_order: "));
    assert!(!is_disorder(violations_after(
        &["a"],
        late((START_MS, FAULTS_END_MS))
    )));
    assert!(is_disorder(violations_after(
        &["a"],
        late((START_MS, FAULTS_END_MS - 1))
    )));
    // An Export waits for the response, or the first request was not stored.
    let waits = violations_after(&["a"], |record| {
        late((START_MS, FAULTS_END_MS))(record);
        record.processes[0].exports[0].ended_ms = FAULTS_END_MS;
    });
    assert!(is_disorder(waits));
    let other = violations_after(&["a"], |record| {
        late((START_MS, FAULTS_END_MS))(record);
        record.arrivals[0].outcome = Outcome::Refused;
    });
    assert!(is_disorder(other));
}

#[test]
fn allows_rejections_only_while_planned() {
    let refused = |record: &mut Record| {
        let arrival = &mut record.arrivals[1];
        assert_eq!(arrival.labels.get(METRIC_NAME), Some(VALUE));
        arrival.outcome = Outcome::Refused;
        let (verdict, _) = record.processes[0].exports[0].verdict.as_mut().unwrap();
        verdict.reject(Reason::Refused, 1);
        let account = &mut record.processes[0].account;
        account.stored -= 1;
        account.rejected.insert(Reason::Refused, 1);
    };
    let planned = violations_after(&["a"], |record| {
        refused(record);
        record.rejecting_ms = vec![(START_MS, START_MS + 1_000)];
    });
    assert_eq!(planned, Vec::<String>::new());
    assert_violation("refused: ", refused);
}

#[test]
fn rejects_a_staleness_marker_of_a_live_target() {
    assert_violation("staleness marker", |record| {
        record.arrivals[20].value = Value::Float(0x7ff0_0000_0000_0002);
    });
}

#[test]
fn compares_verdicts_with_the_ledger() {
    assert_violation("contradicts", |record| drop(record.arrivals.remove(20)));
    assert_violation("contradicts", |record| {
        record.arrivals[20].outcome = Outcome::OutOfOrder;
    });
    assert_violation("contradicts", |record| record.arrivals[20].at_ms += 10_000);
}

#[test]
fn requires_one_sender_per_arrival() {
    assert_violation("were sent", |record| {
        let mut arrival = record.arrivals[20].clone();
        arrival.timestamp += 1;
        record.arrivals.push(arrival);
    });
    assert_violation("sent", |record| {
        let mut other = record.processes[0].clone();
        other.name = "receiver-a-1".to_owned();
        record.processes.push(other);
    });
    assert_violation("sent after its verdict", |record| {
        let again = record.processes[0].exports[0].clone();
        record.processes[0].exports.push(again);
    });
}

#[test]
fn compares_accounts_with_exports() {
    assert_violation("does not balance", |record| {
        record.processes[0].account.pushed += 9
    });
    assert_violation("sent 54 samples", |record| {
        let account = &mut record.processes[0].account;
        (account.pushed, account.waiting) = (account.pushed + 9, 9);
    });
    assert_violation("expired", |record| {
        let account = &mut record.processes[0].account;
        account.pushed += 9;
        account.expired = BTreeMap::from([(Expiry::OutboxFull, 9)]);
    });
    assert_violation("verdicts have", |record| {
        let account = &mut record.processes[0].account;
        (account.stored, account.deduplicated) = (account.stored - 1, 1);
    });
}

#[test]
fn allows_lost_scrapes_only_in_the_memory_of_killed_receivers() {
    assert_violation("lost: ", |record| {
        remove_last_export(record);
        record.processes[0].account.pushed -= 9;
    });
    let lost_in_memory = violations_after(&["a"], |record| {
        remove_last_export(record);
        record.faults_end_ms -= INTERVAL_MS;
        let process = &mut record.processes[0];
        process.account.waiting = 9;
        process.killed_ms = Some(START_MS + 6 * INTERVAL_MS);
    });
    assert_eq!(lost_in_memory, Vec::<String>::new());
    // More scrapes than it had in memory.
    assert_violation("lost: ", |record| {
        remove_last_export(record);
        remove_last_export(record);
        let process = &mut record.processes[0];
        process.account.pushed -= 9;
        process.account.waiting = 9;
        process.killed_ms = Some(START_MS + 6 * INTERVAL_MS);
    });
}

#[test]
fn allows_a_stopping_receiver_to_abort_a_scrape() {
    let stopped = |after_ms: i64| {
        violations_after(&["a"], |record| {
            remove_last_export(record);
            record.faults_end_ms -= INTERVAL_MS;
            record.processes[0].account.pushed -= 9;
            record.processes[0].stopped_ms = record.scrapes.last().map(|s| s.at_ms + after_ms);
        })
    };
    assert_eq!(stopped(500), Vec::<String>::new());
    assert!(stopped(1_500)[0].starts_with("lost: "));
}

#[test]
fn allows_one_missed_slot_and_more_while_unsettled() {
    let gap = |record: &mut Record, slots: i64| {
        scrape(record, 0, START_MS + (5 + slots) * INTERVAL_MS + 1);
    };
    assert_eq!(
        violations_after(&["a"], |record| gap(record, 2)),
        Vec::<String>::new()
    );
    assert_violation("2 slots of", |record| gap(record, 3));
    let unsettled = violations_after(&["a"], |record| {
        gap(record, 3);
        let killed_ms = START_MS + 6 * INTERVAL_MS;
        record.unsettled_ms = vec![("a".to_owned(), killed_ms, killed_ms + 1)];
    });
    assert_eq!(unsettled, Vec::<String>::new());
}

#[test]
fn does_not_count_a_lost_scrape_as_a_missed_slot() {
    let lost_in_memory = violations_after(&["a"], |record| {
        for slot in 6..9 {
            scrape(record, 0, START_MS + slot * INTERVAL_MS + 1);
        }
        remove_last_export(record);
        remove_last_export(record);
        remove_last_export(record);
        let process = &mut record.processes[0];
        process.account.waiting = 27;
        process.killed_ms = Some(START_MS + 9 * INTERVAL_MS);
        let mut other = record.processes[0].clone();
        other.started_ms = START_MS + 9 * INTERVAL_MS;
        (other.killed_ms, other.account, other.exports) = Default::default();
        record.processes.push(other);
        scrape(record, 1, START_MS + 9 * INTERVAL_MS + 1);
        for arrival in record.arrivals.iter_mut().rev().take(9) {
            arrival.outcome = Outcome::Stored;
        }
        let account = &mut record.processes[1].account;
        (account.stored, account.deduplicated) = (9, 0);
        let (verdict, _) = record.processes[1].exports[0].verdict.as_mut().unwrap();
        verdict.deduplicated = 0;
    });
    assert_eq!(lost_in_memory, Vec::<String>::new());
}

#[test]
fn allows_missed_slots_while_views_lag() {
    let gap = |lag_ms: i64| {
        violations_after(&["a"], |record| {
            scrape(record, 0, START_MS + 8 * INTERVAL_MS + 1);
            let from_ms = START_MS + 6 * INTERVAL_MS;
            record.view_lag_ms = vec![("a".to_owned(), from_ms, from_ms + lag_ms)];
        })
    };
    assert_eq!(gap(INTERVAL_MS), Vec::<String>::new());
    assert!(gap(INTERVAL_MS - 1_000)[0].starts_with("2 slots of"));
}

#[test]
fn allows_wrong_counts_of_overtaken_samples() {
    let of_request = |overtaken: usize, rejected: u64, is_joined: bool| {
        violations_after(&["a", "b"], |record| {
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
            let process = &mut record.processes[1];
            process.account.deduplicated -= 9;
            process.account.stored += 9 - rejected;
            let (verdict, _) = process.exports[0].verdict.as_mut().unwrap();
            verdict.deduplicated = 0;
            if rejected > 0 {
                verdict.reject(Reason::OutOfOrder, rejected);
                let reasons = &mut process.account.rejected;
                reasons.insert(Reason::OutOfOrder, rejected);
            }
        })
    };
    let is_wrong = |violations: Vec<String>| violations.iter().any(|it| it.contains("contradicts"));
    let verdict = |overtaken, rejected| of_request(overtaken, rejected, false);
    assert!(!is_wrong(verdict(9, 9)) && !is_wrong(verdict(9, 3)));
    assert!(is_wrong(verdict(9, 0)));
    assert!(!is_wrong(of_request(9, 0, true)));
    assert!(is_wrong(of_request(0, 9, true)));
    // It counts all samples of a scrape as rejected.
    assert!(!is_wrong(verdict(6, 9)) && !is_wrong(verdict(6, 6)));
    assert!(is_wrong(verdict(0, 9)));
}

#[test]
fn rejects_a_late_recovery() {
    assert_violation("targets recovered", |record| {
        record.faults_end_ms += 10 * INTERVAL_MS
    });
    assert_violation("recovered only after", |record| {
        record.faults_end_ms = START_MS + 5 * INTERVAL_MS;
        for arrival in record.arrivals.iter_mut().skip(45) {
            arrival.at_ms += INTERVAL_MS + 10_001;
        }
    });
    let in_flight = violations_after(&["a"], |record| {
        record.faults_end_ms = START_MS + 5 * INTERVAL_MS;
        for arrival in record.arrivals.iter_mut().skip(45) {
            arrival.at_ms += INTERVAL_MS + 10_001;
        }
        let (_, at_ms) = record.processes[0].exports[5].verdict.as_mut().unwrap();
        *at_ms += INTERVAL_MS + 10_001;
        record.processes[0].exports[4].ended_ms = record.faults_end_ms + 10_000;
    });
    assert_eq!(in_flight, Vec::<String>::new());
}

#[test]
fn allows_only_the_same_receiver_to_replay_spilled_batches() {
    let again = |name: &str| {
        violations_after(&["a"], |record| {
            record.spill_after_ms = Some(0);
            record.processes[0].killed_ms = Some(START_MS + 6 * INTERVAL_MS);
            let mut other = record.processes[0].clone();
            other.name = name.to_owned();
            other.killed_ms = None;
            other.started_ms = START_MS + 6 * INTERVAL_MS;
            record.processes.push(other);
        })
    };
    assert_eq!(again("receiver-a-0"), Vec::<String>::new());
    assert!(again("receiver-a-1")[0].contains("sent SentBatch"));
}

#[test]
fn rejects_the_loss_of_spilled_batches() {
    let killed = |after_ms: i64, lost_disk: bool| {
        violations_after(&["a"], |record| {
            remove_last_export(record);
            record.spill_after_ms = Some(3_000);
            let process = &mut record.processes[0];
            process.lost_disk = lost_disk;
            process.account.waiting = 9;
            let last_ms = record.scrapes.last().map_or(0, |scrape| scrape.at_ms);
            process.killed_ms = Some(last_ms + after_ms);
            record.faults_end_ms = FAULTS_END_MS - INTERVAL_MS;
            let again = Process {
                name: process.name.clone(),
                group: process.group.clone(),
                started_ms: last_ms + after_ms,
                ..Process::default()
            };
            record.processes.push(again);
        })
    };
    assert_eq!(killed(4_500, false), Vec::<String>::new());
    assert!(killed(4_700, false)[0].starts_with("spilled and lost: "));
    assert_eq!(killed(4_700, true), Vec::<String>::new());
}

/// Delays the arrival of the last scrape, and ends all faults before it.
fn recover_late(record: &mut Record, late_ms: i64) {
    record.faults_end_ms = START_MS + 5 * INTERVAL_MS;
    for arrival in record.arrivals.iter_mut().skip(45) {
        arrival.at_ms += INTERVAL_MS + late_ms;
    }
    let (_, at_ms) = record.processes[0].exports[5].verdict.as_mut().unwrap();
    *at_ms += INTERVAL_MS + late_ms;
}

#[test]
fn allows_the_wait_for_the_backlog_of_a_killed_receiver() {
    let killed = |late_ms: i64, lost_disk: bool, is_back: bool| {
        violations_after(&["a"], |record| {
            recover_late(record, late_ms);
            record.spill_after_ms = lost_disk.then_some(0);
            let mut other = Process {
                name: "receiver-a-1".to_owned(),
                group: "a".to_owned(),
                started_ms: START_MS,
                killed_ms: Some(record.faults_end_ms),
                lost_disk,
                ..Process::default()
            };
            (other.account.pushed, other.account.waiting) = (9, 9);
            record.processes.push(other.clone());
            if is_back {
                other.killed_ms = None;
                other.started_ms = record.faults_end_ms;
                other.account = Account::default();
                record.processes.push(other);
            }
        })
    };
    for lost_disk in [false, true] {
        assert_eq!(killed(11_000, lost_disk, false), Vec::<String>::new());
        for (late_ms, is_back) in [(13_000, false), (11_000, true)] {
            let violations = killed(late_ms, lost_disk, is_back);
            assert!(violations[0].starts_with("recovered only after"));
        }
    }
}

#[test]
fn judges_each_destination() {
    let at = |destination: &str| Record {
        destination: destination.to_owned(),
        ..good(&["a"])
    };
    let mut second = at("backend-2");
    assert!(judge(&[at("backend"), second.clone()]).passed());
    second.arrivals[20].outcome = Outcome::OutOfOrder;
    let violations = judge(&[at("backend"), second]).violations;
    assert!(!violations.is_empty());
    let is_named = |it: &String| it.starts_with("backend-2: ");
    assert!(violations.iter().all(is_named), "{violations:?}");
}
