//! Small batches wait for others to share a request.

use super::*;

const LINGER: Duration = Duration::from_millis(250);

/// Pushes batches right after a first one. Returns the payloads stored after the first,
/// each with its delay.
async fn stored_after_another(batches: Vec<Batch>, linger: Duration) -> Vec<(String, Duration)> {
    let exporter = Exporter::default();
    let args = OutboxArgs {
        linger,
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
    let stored = exporter.stored.lock();
    let all = stored.iter().map(|(payload, at)| {
        let text = String::from_utf8_lossy(payload).trim_end().to_owned();
        (text, *at - stored[0].1)
    });
    all.skip(1).collect()
}

#[tokio::test(start_paused = true)]
async fn small_batches_share_a_request() {
    let small = || vec![batch(1, "a"), batch(2, "b"), batch(3, "c")];
    let joined = [("abc".to_owned(), LINGER)];
    assert_eq!(stored_after_another(small(), LINGER).await, joined);
    let apart = stored_after_another(small(), Duration::ZERO).await;
    assert_eq!(apart.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn large_batches_are_sent_at_once() {
    let large = " ".repeat(100 << 10);
    let batches: Vec<_> = (1..=3).map(|key| batch(key, &large)).collect();
    let stored = stored_after_another(batches, LINGER).await;
    assert_eq!(stored, [(String::new(), Duration::from_millis(3))]);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_sent_at_once() {
    let backlog = vec![batch(1, "a1"), batch(2, "b1"), batch(1, "a2")];
    let stored = stored_after_another(backlog, LINGER).await;
    assert_eq!(stored[0], ("a1b1".to_owned(), Duration::from_millis(3)));
    // The last batch alone is no backlog.
    assert_eq!(stored[1].0, "a2");
}

#[tokio::test(start_paused = true)]
async fn awaited_batches_are_sent_at_once() {
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
async fn an_idle_outbox_does_not_linger() {
    let exporter = Exporter::default();
    let (outbox, workers) = outbox(OutboxArgs::default(), &exporter);
    for text in ["one", "two", "three"] {
        outbox.push(batch(1, text)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drained(workers).await;
    let stored = exporter.stored.lock();
    let gaps: Vec<_> = stored.windows(2).map(|two| two[1].1 - two[0].1).collect();
    assert_eq!(gaps, [Duration::from_secs(1); 2]);
}
