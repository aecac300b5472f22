use tokio::sync::watch;

use super::{super::gossip::PeerReport, *};

#[tokio::test(start_paused = true)]
async fn holds_replayed_batches_back_for_their_fence_only() {
    let policy = WaitPolicy {
        export_timeout: Duration::from_secs(10),
        away_timeout: Duration::from_secs(60),
        members_are_ready: true,
        spills: true,
        authenticated: true,
    };
    let (_, unready) = watch::channel(None);
    let mut state = State::new("a:1".to_owned(), policy, unready);
    let report = PeerReport {
        earlier_exports_ms: 20_000,
        ..PeerReport::default()
    };
    state.peers.merge_report("a:1", &report, Instant::now());
    let barrier_ms = |hold_back: &HoldBack| {
        let barrier = state.barrier(hold_back, &Responses::new());
        barrier.map(|barrier| barrier.oldest_ms())
    };
    // During the startup hold, peers that it does not know yet may have older batches.
    assert_eq!(barrier_ms(&HoldBack::replayed(6)), Some(5));
    tokio::time::advance(policy.export_timeout).await;
    assert_eq!(barrier_ms(&HoldBack::replayed(6)), None);
    // Batches that this process has scraped itself are in a lane without a fence.
    assert_eq!(barrier_ms(&HoldBack::new(5)), Some(5));
}
