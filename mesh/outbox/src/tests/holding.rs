//! Batches that are held back, and what is told of those that wait.

use std::collections::HashSet;

use super::*;

fn at(key: u64, after_ms: i64) -> Batch {
    Batch {
        time_ms: START_MS + after_ms,
        ..batch(key, &format!("{key}:{after_ms:03},"))
    }
}

fn one_lane() -> OutboxArgs {
    OutboxArgs {
        lanes: 1,
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_steps_over_what_is_held_back() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(one_lane(), &exporter);
    outbox.hold_back(1, START_MS + 1);
    for batch in [at(1, 1), at(1, 2), at(2, 3), at(1, 4), at(2, 5)] {
        outbox.push(batch).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What is not later than the hold has nothing to wait for.
    assert_eq!(exporter.stored(), ["1:001,2:003,", "2:005,"]);
    let held_back = HeldBack {
        batches: 2,
        samples: 20,
    };
    assert_eq!(outbox.held_back(), held_back);
    outbox.hold_back(1, START_MS + 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exporter.stored().last().unwrap(), "1:002,");
    outbox.let_go(1);
    let account = drained(workers).await;
    assert_eq!(exporter.stored().last().unwrap(), "1:004,");
    assert_eq!((account.stored, account.waiting), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_is_drained_waits_for_what_is_held_back() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(one_lane(), &exporter);
    outbox.hold_back(1, START_MS);
    outbox.push(at(1, 1)).unwrap();
    let begun = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        outbox.let_go(1);
    };
    let (account, ()) = tokio::join!(drained(workers), later);
    assert_eq!((account.stored, account.waiting), (10, 0));
    assert!(begun.elapsed() < Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_for_too_long_expires() {
    let exporter = Exporter::default();
    let args = OutboxArgs {
        max_age_seconds: 60,
        ..one_lane()
    };
    let (outbox, workers) = outbox(args, &exporter);
    outbox.hold_back(1, START_MS);
    outbox.push(at(1, 1)).unwrap();
    for _ in 0..130 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        outbox.hold_back(1, START_MS);
    }
    let expired = BTreeMap::from([(Expiry::TooOld, 10)]);
    assert_eq!(outbox.account().expired, expired);
    drained(workers).await;
    assert!(exporter.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_each_key_that_waits_is_known() {
    let exporter = Exporter::scripted([Answer::Silence]);
    let (outbox, workers) = outbox(one_lane(), &exporter);
    for batch in [at(1, 1), at(2, 2), at(1, 3), at(3, 4)] {
        outbox.push(batch).unwrap();
    }
    // In flight, which is not delivered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let oldest = outbox.oldest(&HashSet::from([1, 2, 9])).unwrap();
    let expected = [(1, START_MS + 1), (2, START_MS + 2)];
    assert_eq!(oldest, expected.into_iter().collect());
    drained(workers).await;
    assert_eq!(outbox.oldest(&HashSet::from([1])), Some(HashMap::new()));
}
