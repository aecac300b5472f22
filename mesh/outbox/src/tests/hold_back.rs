//! Hold-backs, and the times of the oldest pending batches.

use std::collections::HashSet;

use super::*;

fn at(key: u64, after_ms: i64) -> Batch {
    Batch {
        time_ms: START_MS + after_ms,
        ..batch(key, &format!("{key}:{after_ms:03},"))
    }
}

#[tokio::test(start_paused = true)]
async fn held_back_batches_are_skipped() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.hold_back(1, OldestPending::everywhere(START_MS + 1));
    for batch in [at(1, 1), at(1, 2), at(2, 3), at(1, 4), at(2, 5)] {
        outbox.push(batch).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A batch at the time of the hold-back is not later, so it is sent.
    assert_eq!(exporter.stored(), ["1:001,2:003,", "2:005,"]);
    let held_back = HeldBackTotals {
        batches: 2,
        samples: 20,
    };
    assert_eq!(outbox.held_back(), held_back);
    outbox.hold_back(1, OldestPending::everywhere(START_MS + 2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(exporter.stored().last().unwrap(), "1:002,");
    outbox.release(1);
    let account = drained(workers).await;
    assert_eq!(exporter.stored().last().unwrap(), "1:004,");
    assert_eq!((account.stored, account.waiting), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_held_back_batches() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.hold_back(1, OldestPending::everywhere(START_MS));
    outbox.push(at(1, 1)).unwrap();
    let begun = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        outbox.release(1);
    };
    let (account, ()) = tokio::join!(drained(workers), later);
    assert_eq!((account.stored, account.waiting), (10, 0));
    assert!(begun.elapsed() < Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn held_back_batches_expire() {
    let exporter = Exporter::default();
    let args = OutboxArgs {
        max_age: Duration::from_secs(60),
        ..OutboxArgs::default()
    };
    let (outbox, workers) = outbox(args, &exporter);
    outbox.hold_back(1, OldestPending::everywhere(START_MS));
    outbox.push(at(1, 1)).unwrap();
    for _ in 0..130 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        outbox.hold_back(1, OldestPending::everywhere(START_MS));
    }
    let expired = BTreeMap::from([(Expiry::TooOld, 10)]);
    assert_eq!(outbox.account().expired, expired);
    drained(workers).await;
    assert!(exporter.stored().is_empty());
}

#[tokio::test(start_paused = true)]
async fn returns_the_oldest_pending_batch_of_each_key() {
    let exporter = Exporter::scripted([Reply::Silence]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    for batch in [at(1, 1), at(2, 2), at(1, 3), at(3, 4)] {
        outbox.push(batch).unwrap();
    }
    // The first batches are in flight, so they are still pending.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let oldest = outbox.oldest_pending(&HashSet::from([1, 2, 9])).unwrap();
    let at = OldestPending::everywhere;
    let expected = [(1, at(START_MS + 1)), (2, at(START_MS + 2))];
    assert_eq!(oldest, expected.into_iter().collect());
    drained(workers).await;
    assert_eq!(
        outbox.oldest_pending(&HashSet::from([1])),
        Some(HashMap::new())
    );
}
