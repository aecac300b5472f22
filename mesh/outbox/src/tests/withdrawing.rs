//! Batches whose waiters are dropped.

use super::*;

/// Expired samples if only withdrawals happened.
fn withdrawn(samples: u64) -> BTreeMap<Expiry, u64> {
    BTreeMap::from([(Expiry::Withdrawn, samples)])
}

async fn second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn does_not_send_withdrawn_batches() {
    let exporter = Exporter::scripted([Reply::RetryAfter(Duration::from_secs(20))]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.push(batch(1, "first ")).unwrap();
    second().await;
    let (outcome, waiter) = outbox.push_with_waiter(batch(1, "second ")).unwrap();
    let (_, other) = outbox.push_with_waiter(batch(1, "third ")).unwrap();
    assert_eq!(outbox.account().waiting, 30);
    drop(waiter);
    let account = outbox.account();
    assert!(account.balances(), "{account}");
    assert_eq!((account.waiting, account.expired), (20, withdrawn(10)));
    assert_eq!(outcome.await.unwrap(), Outcome::Expired(Expiry::Withdrawn));
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (20, withdrawn(10)));
    assert_eq!(exporter.stored(), ["first ", "third "]);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_flight_is_not_withdrawn() {
    let stored = Arc::new(Mutex::new(0));
    let slow = {
        let stored = stored.clone();
        tower::service_fn(move |_: Export| {
            let stored = stored.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                *stored.lock() += 1;
                Ok::<_, ExportError>(ExportResponse::default())
            }
        })
    };
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), slow);
    let (outcome, waiter) = outbox.push_with_waiter(batch(1, "x")).unwrap();
    second().await;
    drop(waiter);
    assert_eq!(outbox.account().waiting, 10);
    assert_eq!(outcome.await.unwrap(), Outcome::Verdict(Verdict::default()));
    assert_eq!(*stored.lock(), 1);
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (10, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn does_not_retry_without_waiters() {
    for failure in [Reply::Lost, Reply::Silence, Reply::Hang, Reply::Unsent] {
        let exporter = Exporter::scripted([failure]);
        let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
        let (outcome, waiter) = outbox.push_with_waiter(batch(1, "x")).unwrap();
        outbox.push(batch(1, "next")).unwrap();
        tokio::task::yield_now().await;
        drop(waiter);
        let outcome = outcome.await.unwrap();
        assert_eq!(outcome, Outcome::Expired(Expiry::Withdrawn), "{failure:?}");
        let account = drained(workers).await;
        assert_eq!((account.stored, account.expired), (10, withdrawn(10)));
        assert_eq!(exporter.stored(), ["next"], "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_a_batch_until_its_last_waiter_is_dropped() {
    let failures = [Reply::Lost, Reply::RetryAfter(Duration::from_secs(20))];
    let exporter = Exporter::scripted(failures);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    let (_, first) = outbox.push_with_waiter(batch(1, "x")).unwrap();
    let (_, queued) = outbox.push_with_waiter(batch(2, "y")).unwrap();
    second().await;
    let waiters = first.waiters();
    let another = queued.waiters().add();
    drop((first, queued));
    second().await;
    // The first batch is in flight, so it accepts another waiter.
    let last = waiters.add();
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (20, BTreeMap::new()));
    assert_eq!(exporter.stored(), ["x", "y"]);
    drop((another, last));
}

#[tokio::test(start_paused = true)]
async fn delivers_a_batch_whose_outcome_receiver_is_dropped() {
    let exporter = Exporter::scripted([Reply::RetryAfter(Duration::from_secs(20))]);
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    for key in 0..3 {
        drop(outbox.push_with_outcome(batch(key, "x")).unwrap());
    }
    assert_eq!(drained(workers).await.stored, 30);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_withdrawn_batches() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    outbox.hold_back(1, OldestPending::everywhere(START_MS - 1));
    let (_, waiter) = outbox.push_with_waiter(batch(1, "x")).unwrap();
    let begun = Instant::now();
    let withdrawal = async {
        second().await;
        drop(waiter);
    };
    let (account, ()) = tokio::join!(drained(workers), withdrawal);
    assert_eq!((account.waiting, account.expired), (0, withdrawn(10)));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}
