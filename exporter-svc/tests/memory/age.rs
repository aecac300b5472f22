//! Connections that reach their maximum age, under load.

use super::*;
use crate::wire::Wire;

/// Delivers a minute of scrapes and returns the number of connections used.
async fn deliver(flags: &[&str], latency: Duration) -> (usize, Backend) {
    let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let wire = Wire::start(&flags, &Default::default()).await;
    wire.backend.set_behavior(Behavior::Slow(latency));
    scrape(&wire.outbox, Instant::now(), 0, 60).await;
    let (connections, backend) = (wire.connections(), wire.backend.clone());
    assert_delivered(wire.workers, 60, &backend).await;
    (connections, backend)
}

#[tokio::test(start_paused = true)]
async fn closing_aged_connections_neither_loses_nor_repeats_samples() {
    let flags = ["--grpc.max-connection-age=3"];
    let (connections, backend) = deliver(&flags, Duration::from_millis(700)).await;
    assert!(connections > 10, "{connections}");
    assert_eq!(backend.repeated.load(Ordering::Relaxed), 0);
}

/// Exports that a closed connection cuts off are retried after their deadline.
#[tokio::test(start_paused = true)]
async fn a_short_grace_loses_no_samples() {
    let flags = [
        "--grpc.max-connection-age=5",
        "--grpc.max-connection-age-grace=1",
    ];
    let (connections, _) = deliver(&flags, Duration::from_secs(3)).await;
    assert!(connections > 5, "{connections}");
}
