//! What is little waits for more to join it.

use super::*;

const LINGER: Duration = Duration::from_millis(250);

/// What was stored of what is pushed right after a first batch, and how long after it.
async fn stored_after_another(batches: Vec<Batch>, linger: Duration) -> Vec<(String, Duration)> {
    let exporter = Exporter::default();
    let args = OutboxArgs {
        lanes: 1,
        linger_ms: linger.as_millis() as u64,
        ..Default::default()
    };
    let (outbox, workers) = outbox(args, &exporter);
    outbox.push(batch(1, "first")).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for batch in batches {
        outbox.push(batch).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(2 * LINGER).await;
    drained(workers).await;
    let stored = exporter.stored.lock().unwrap();
    let all = stored.iter().map(|(payload, at)| {
        let text = String::from_utf8_lossy(payload).trim_end().to_owned();
        (text, *at - stored[0].1)
    });
    all.skip(1).collect()
}

#[tokio::test(start_paused = true)]
async fn little_batches_join() {
    let little = || vec![batch(1, "a"), batch(2, "b"), batch(3, "c")];
    let joined = [("abc".to_owned(), LINGER)];
    assert_eq!(stored_after_another(little(), LINGER).await, joined);
    let apart = stored_after_another(little(), Duration::ZERO).await;
    assert_eq!(apart.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_much_goes_at_once() {
    let much = " ".repeat(100 << 10);
    let much: Vec<_> = (1..=3).map(|key| batch(key, &much)).collect();
    let stored = stored_after_another(much, LINGER).await;
    assert_eq!(stored, [(String::new(), Duration::from_millis(3))]);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_goes_at_once() {
    let backlog = vec![batch(1, "a1"), batch(2, "b1"), batch(1, "a2")];
    let stored = stored_after_another(backlog, LINGER).await;
    assert_eq!(stored[0], ("a1b1".to_owned(), Duration::from_millis(3)));
    // What is left of it is none.
    assert_eq!(stored[1].0, "a2");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_goes_at_once() {
    let exporter = Exporter::default();
    let (outbox, _workers) = outbox(OutboxArgs::default(), &exporter);
    let start = Instant::now();
    for text in ["one", "two", "three"] {
        outbox
            .push_with_outcome(batch(1, text))
            .unwrap()
            .await
            .unwrap();
    }
    assert!(start.elapsed() < LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_quiet_does_not_wait() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    for text in ["one", "two", "three"] {
        outbox.push(batch(1, text)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drained(workers).await;
    let stored = exporter.stored.lock().unwrap();
    let gaps: Vec<_> = stored.windows(2).map(|two| two[1].1 - two[0].1).collect();
    assert_eq!(gaps, [Duration::from_secs(1); 2]);
}
