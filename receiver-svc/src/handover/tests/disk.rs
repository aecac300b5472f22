//! Batches that a receiver has spilled to its disk.

use super::*;

/// Kills `a` after its batches have waited for `waited`. Returns the time of the kill, `b`,
/// which has taken over the target, and the disk of `a`.
async fn killed_with_a_backlog(waited: Duration) -> (Instant, Receiver, TempDir) {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let a = net.start_spilling(&dir, "a:1", &["b:1"]);
    let b = net.start("b:1", &["a:1"]);
    let (old, _) = granted(a.claim(TARGET)).await;
    granted(b.claim(TARGET + 1)).await;
    let _blocked = a.block_exports().await;
    a.scrape(&old, 1);
    sleep(waited).await;
    a.kill();
    b.set_unready(&["a:1"]);
    b.set_members(&[]);
    let killed = Instant::now();
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 30_000);
    (killed, b, dir)
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_killed_peer_with_batches_on_disk() {
    let (killed, b, dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + TIMEOUT * 2).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    let again = b.net.start_spilling(&dir, "a:1", &["b:1"]);
    // The fence of `a`, whose clock has started anew, and one round of `b`.
    sleep(TIMEOUT * 2).await;
    assert_eq!(
        (again.stored().as_str(), b.stored().as_str()),
        ("1,", "30000,")
    );
}

#[tokio::test(start_paused = true)]
async fn stops_waiting_after_the_away_timeout() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + AWAY_TIMEOUT - GRACE).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    sleep(GRACE * 2).await;
    assert_eq!(b.stored(), "30000,");
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_the_disk_of_a_deleted_pod() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + TIMEOUT).duration_since(Instant::now())).await;
    b.set_unready(&[]);
    assert_eq!(b.stored(), "");
    sleep(GRACE).await;
    assert_eq!(b.stored(), "30000,");
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_an_empty_disk() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_millis(100)).await;
    sleep((killed + TIMEOUT + GRACE).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "30000,");
}

/// Starts a receiver that spills while `a:1` is not ready. Returns true if it delivers within
/// `waits`.
async fn delivers_beside_an_unready_peer(
    net: &Net,
    name: &str,
    others: &[&str],
    waits: Duration,
) -> bool {
    let dir = TempDir::new().unwrap();
    let b = net.start_with(&spilling(&dir), &["a:1"], name, others);
    let (claim, _) = granted(b.claim(TARGET)).await;
    b.scrape(&claim, 30_000);
    sleep(waits).await;
    let delivers = b.stored() == "30000,";
    b.kill();
    delivers
}

#[tokio::test(start_paused = true)]
async fn waits_for_an_unready_peer_that_may_have_a_disk() {
    let net = Net::default();
    let waits = AWAY_TIMEOUT - GRACE * 2;
    assert!(!delivers_beside_an_unready_peer(&net, "b:1", &[], waits).await);
    assert!(delivers_beside_an_unready_peer(&net, "d:1", &[], AWAY_TIMEOUT + GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_an_unready_peer_that_answers() {
    let net = Net::default();
    let _a = net.start("a:1", &[]);
    sleep(TIMEOUT).await;
    assert!(delivers_beside_an_unready_peer(&net, "b:1", &[], GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_a_peer_that_long_running_peers_do_not_know() {
    let net = Net::default();
    let _c = net.start("c:1", &[]);
    // `c` may have started after `a` was killed, so it cannot know.
    sleep(AWAY_TIMEOUT / 2).await;
    assert!(!delivers_beside_an_unready_peer(&net, "b:1", &["c:1"], GRACE).await);
    sleep(AWAY_TIMEOUT).await;
    assert!(delivers_beside_an_unready_peer(&net, "d:1", &["c:1"], GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn learns_of_a_backlog_on_disk_from_a_draining_peer() {
    let (_, b, dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    // `b` drains and is no longer a member.
    let blocked = b.block_exports().await;
    b.handover.stop();
    let c = b.net.start_beside_unready(&["b:1"], "c:1", &[]);
    let (claim, _) = granted(c.claim(TARGET)).await;
    c.scrape(&claim, 60_000);
    drop(blocked);
    sleep(TIMEOUT * 2).await;
    assert_eq!(c.stored(), "");
    let a = c.net.start_spilling(&dir, "a:1", &["c:1"]);
    sleep(TIMEOUT * 2).await;
    let stored = [&a, &b, &c].map(Receiver::stored);
    assert_eq!(stored, ["1,", "30000,", "60000,"]);
}

#[tokio::test(start_paused = true)]
async fn holds_spilled_batches_back_after_a_restart() {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let (a, b) = (
        net.start("a:1", &["b:1"]),
        net.start_spilling(&dir, "b:1", &["a:1"]),
    );
    let (old, _) = granted(a.claim(TARGET)).await;
    let blocked = a.block_exports().await;
    a.scrape(&old, 1);
    drop(old);
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    sleep(Duration::from_secs(6)).await;
    b.kill();
    drop(new);
    let again = net.start_spilling(&dir, "b:1", &["a:1"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(again.stored(), "");
    assert_eq!(again.outbox.account().waiting, 1);
    drop(blocked);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (a.stored(), again.stored()),
        ("1,".to_owned(), "2,".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn delivers_replayed_batches_without_peers() {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let a = net.start_spilling(&dir, "a:1", &[]);
    let _blocked = a.block_exports().await;
    a.push(1);
    sleep(Duration::from_secs(6)).await;
    a.kill();
    let again = net.start_spilling(&dir, "a:1", &[]);
    sleep(TIMEOUT * 2).await;
    assert_eq!(again.stored(), "1,");
}
