//! Silent groups and elections.

use super::*;

/// Violations of a pair with an interval of 15 s whose heartbeats are missing.
fn without_heartbeats(damage: impl FnOnce(&mut Record)) -> Vec<String> {
    violations_after(&["a", "b"], |record| {
        record.heartbeats = true;
        damage(record);
    })
}

#[test]
fn rejects_the_silence_of_a_healthy_group() {
    let violations = without_heartbeats(|_| {});
    let of = |group: &str| violations.iter().filter(|it| it.starts_with(group)).count();
    // A group counts as healthy if it is so before and after the silence.
    assert_eq!(
        (of("a was healthy"), of("b was healthy")),
        (4, 4),
        "{violations:?}"
    );
}

#[test]
fn allows_silence_during_a_fault() {
    let until = |end_ms: i64| {
        without_heartbeats(|record| record.faults_ms = vec![(START_MS, START_MS + end_ms)])
    };
    assert_eq!(until(70_000), Vec::<String>::new());
    assert!(!until(45_000).is_empty());
}

#[test]
fn allows_a_group_without_heartbeats_to_wait_for_a_killed_receiver() {
    let silences = |heartbeats: bool, waiting: u64, killed_after_ms: i64| {
        let violations = violations_after(&["a", "b"], |record| {
            record.interval_ms = 9_000;
            record.heartbeats = heartbeats;
            let mut killed = Process {
                name: "receiver-a-9".to_owned(),
                group: "a".to_owned(),
                killed_ms: Some(START_MS + killed_after_ms),
                ..Process::default()
            };
            (killed.account.pushed, killed.account.waiting) = (waiting, waiting);
            record.processes.push(killed);
        });
        violations
            .iter()
            .filter(|it| it.starts_with("a was h"))
            .count()
    };
    let all = silences(false, 0, INTERVAL_MS + 4_000);
    assert!(all > 1);
    assert_eq!(silences(false, 9, INTERVAL_MS + 4_000), all - 1);
    // The silence outlasts the wait, or heartbeats would not have waited.
    assert_eq!(silences(false, 9, INTERVAL_MS + 1_000), all);
    assert_eq!(silences(true, 9, INTERVAL_MS + 4_000), all);
}

#[test]
fn allows_the_silence_of_an_unhealthy_group() {
    let without_scrapes = without_heartbeats(|record| {
        record.processes[0].stopped_ms = Some(START_MS + 1);
        record.processes[1].stopped_ms = Some(START_MS + 1);
    });
    assert!(!without_scrapes.iter().any(|it| it.contains("silent")));
}

#[test]
fn allows_elections_only_after_a_silence() {
    let elected = |later_ms: i64| {
        let violations = violations_after(&["a", "b"], |record| {
            for arrival in &mut record.arrivals[54..] {
                arrival.outcome = Outcome::Stored;
                arrival.at_ms += later_ms;
            }
        });
        violations.iter().any(|it| it.contains("b was elected"))
    };
    assert!(elected(0));
    assert!(!elected(100_000));
}
