//! Batches that somebody waits for, who leaves.

use super::*;

fn one_lane() -> OutboxArgs {
    OutboxArgs {
        lanes: 1,
        ..Default::default()
    }
}

/// So many samples withdrawn, and nothing else given up.
fn withdrawn(samples: u64) -> BTreeMap<Expiry, u64> {
    BTreeMap::from([(Expiry::Withdrawn, samples)])
}

async fn second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_sent() {
    let exporter = Exporter::scripted([Answer::Again(Duration::from_secs(20))]);
    let (outbox, workers) = outbox(one_lane(), &exporter);
    outbox.push(batch(1, "first ")).unwrap();
    second().await;
    let (told, waiter) = outbox.push_for(batch(2, "second ")).unwrap();
    let (_, other) = outbox.push_for(batch(3, "third ")).unwrap();
    assert_eq!(outbox.account().waiting, 30);
    drop(waiter);
    let account = outbox.account();
    assert!(account.balances(), "{account}");
    assert_eq!((account.waiting, account.expired), (20, withdrawn(10)));
    assert_eq!(told.await.unwrap(), Outcome::Expired(Expiry::Withdrawn));
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (20, withdrawn(10)));
    assert_eq!(exporter.stored(), ["first ", "third "]);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_stays() {
    let stored = Arc::new(Mutex::new(0));
    let slow = {
        let stored = stored.clone();
        tower::service_fn(move |_: Export| {
            let stored = stored.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                *stored.lock().unwrap() += 1;
                Ok::<_, ExportError>(Verdict::default())
            }
        })
    };
    let (outbox, workers) = Outbox::new(&one_lane(), Clock::tokio(START_MS), slow);
    let (told, waiter) = outbox.push_for(batch(1, "x")).unwrap();
    second().await;
    drop(waiter);
    assert_eq!(outbox.account().waiting, 10);
    assert_eq!(told.await.unwrap(), Outcome::Judged(Verdict::default()));
    assert_eq!(*stored.lock().unwrap(), 1);
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (10, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_is_not_sent_again() {
    for failure in [Answer::Lost, Answer::Silence, Answer::Hang, Answer::Unsent] {
        let exporter = Exporter::scripted([failure]);
        let (outbox, workers) = outbox(one_lane(), &exporter);
        let (told, waiter) = outbox.push_for(batch(1, "x")).unwrap();
        outbox.push(batch(1, "next")).unwrap();
        tokio::task::yield_now().await;
        drop(waiter);
        let outcome = told.await.unwrap();
        assert_eq!(outcome, Outcome::Expired(Expiry::Withdrawn), "{failure:?}");
        let account = drained(workers).await;
        assert_eq!((account.stored, account.expired), (10, withdrawn(10)));
        assert_eq!(exporter.stored(), ["next"], "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_kept_for_the_last_who_waits() {
    let failures = [Answer::Lost, Answer::Again(Duration::from_secs(20))];
    let exporter = Exporter::scripted(failures);
    let (outbox, workers) = outbox(one_lane(), &exporter);
    let (_, first) = outbox.push_for(batch(1, "x")).unwrap();
    let (_, queued) = outbox.push_for(batch(2, "y")).unwrap();
    second().await;
    let interest = first.interest();
    let another = queued.interest().wait();
    drop((first, queued));
    second().await;
    // Under way, it can be waited for again.
    let last = interest.wait();
    let account = drained(workers).await;
    assert_eq!((account.stored, account.expired), (20, BTreeMap::new()));
    assert_eq!(exporter.stored(), ["x", "y"]);
    drop((another, last));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_to_somebody_who_has_left_is_delivered_all_the_same() {
    let exporter = Exporter::scripted([Answer::Again(Duration::from_secs(20))]);
    let (outbox, workers) = outbox(one_lane(), &exporter);
    for key in 0..3 {
        drop(outbox.push_with_outcome(batch(key, "x")).unwrap());
    }
    assert_eq!(drained(workers).await.stored, 30);
}

#[tokio::test(start_paused = true)]
async fn an_outbox_is_drained_where_nobody_waits_for_the_rest() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(one_lane(), &exporter);
    outbox.hold_back(1, START_MS - 1);
    let (_, waiter) = outbox.push_for(batch(1, "x")).unwrap();
    let begun = Instant::now();
    let leaving = async {
        second().await;
        drop(waiter);
    };
    let (account, ()) = tokio::join!(drained(workers), leaving);
    assert_eq!((account.waiting, account.expired), (0, withdrawn(10)));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}
