//! Groups that are silent, and elections.

use super::*;

/// A pair that is scraped every 15 s, and has heartbeats which never come.
fn silent(broken: impl FnOnce(&mut Record)) -> Vec<String> {
    judged(&["a", "b"], |record| {
        record.heartbeats = true;
        broken(record);
    })
}

#[test]
fn a_healthy_group_that_is_silent_is_told() {
    let said = silent(|_| {});
    let of = |group: &str| said.iter().filter(|law| law.starts_with(group)).count();
    // It has to be healthy before and after.
    assert_eq!(
        (of("a was healthy"), of("b was healthy")),
        (4, 4),
        "{said:?}"
    );
}

#[test]
fn silence_is_excused_while_something_is_wrong() {
    let until =
        |over_ms: i64| silent(|record| record.wrong_ms = vec![(START_MS, START_MS + over_ms)]);
    assert_eq!(until(70_000), Vec::<String>::new());
    assert!(!until(45_000).is_empty());
}

#[test]
fn a_group_without_heartbeats_may_wait_for_one_that_was_killed() {
    let silences = |heartbeats: bool, waiting: u64, killed_after_ms: i64| {
        let said = judged(&["a", "b"], |record| {
            record.interval_ms = 9_000;
            record.heartbeats = heartbeats;
            let mut killed = Life {
                name: "receiver-a-9".to_owned(),
                group: "a".to_owned(),
                crashed_ms: Some(START_MS + killed_after_ms),
                ..Life::default()
            };
            (killed.account.pushed, killed.account.waiting) = (waiting, waiting);
            record.lives.push(killed);
        });
        said.iter().filter(|law| law.starts_with("a was h")).count()
    };
    let all = silences(false, 0, INTERVAL_MS + 4_000);
    assert!(all > 1);
    assert_eq!(silences(false, 9, INTERVAL_MS + 4_000), all - 1);
    // That is not for as long as this silence, nor are heartbeats held back.
    assert_eq!(silences(false, 9, INTERVAL_MS + 1_000), all);
    assert_eq!(silences(true, 9, INTERVAL_MS + 4_000), all);
}

#[test]
fn a_sick_group_may_be_silent() {
    let without_scrapes = silent(|record| {
        record.lives[0].stopped_ms = Some(START_MS + 1);
        record.lives[1].stopped_ms = Some(START_MS + 1);
    });
    assert!(!without_scrapes.iter().any(|law| law.contains("silent")));
}

#[test]
fn another_group_is_elected_only_after_a_silence() {
    let elected = |later_ms: i64| {
        let said = judged(&["a", "b"], |record| {
            for arrival in &mut record.arrivals[54..] {
                arrival.outcome = Outcome::Stored;
                arrival.at_ms += later_ms;
            }
        });
        said.iter().any(|law| law.contains("b was elected"))
    };
    assert!(elected(0));
    assert!(!elected(100_000));
}
