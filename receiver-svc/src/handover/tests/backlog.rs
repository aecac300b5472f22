//! Batches of a previous owner that are still in its outbox.

use super::*;

#[tokio::test(start_paused = true)]
async fn delivers_the_backlog_of_the_previous_owner_first() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    let blocked = a.block_exports().await;
    a.scrape(&old, 1);
    a.scrape(&old, 2);
    // `a` stops and leaves the members of `b`.
    a.handover.stop();
    drop(old);
    b.set_members(&[]);
    let (new, last_ms) = granted(b.claim(TARGET)).await;
    assert_eq!(last_ms, Some(START_MS + 2));
    b.scrape(&new, 3);
    sleep(Duration::from_secs(300)).await;
    assert_eq!((a.stored(), b.stored()), (String::new(), String::new()));
    assert_eq!(b.outbox.held_back().batches, 1);
    drop(blocked);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.stored().as_str(), b.stored().as_str()), ("1,2,", "3,"));
    // The hold-back is released: the next batch is sent at once.
    b.scrape(&new, 4);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "3,4,");
}

#[tokio::test(start_paused = true)]
async fn avoids_a_cycle_when_a_target_returns() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let blocked = (a.block_exports().await, b.block_exports().await);
    let mut after_ms = 0;
    for receiver in [&a, &b, &a, &b, &a] {
        let (claim, _) = granted(receiver.claim(TARGET)).await;
        for _ in 0..2 {
            after_ms += 1;
            receiver.scrape(&claim, after_ms);
        }
        sleep(Duration::from_secs(1)).await;
    }
    drop(blocked);
    sleep(Duration::from_secs(10)).await;
    let stored = (a.stored(), b.stored());
    assert_eq!(stored, ("1,2,5,6,9,10,".to_owned(), "3,4,7,8,".to_owned()));
}

/// Three receivers. `b` has taken a target over from `a`, which has a backlog; `c` has none.
async fn taken_over() -> ([Receiver; 3], Claim, tokio::sync::OwnedSemaphorePermit) {
    let net = Net::default();
    let a = net.start("a:1", &["b:1", "c:1"]);
    let b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["a:1", "b:1"]);
    sleep(TIMEOUT).await;
    let (old, _) = granted(a.claim(TARGET)).await;
    let blocked = a.block_exports().await;
    a.scrape(&old, 1);
    a.handover.stop();
    drop(old);
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    ([a, b, c], new, blocked)
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_a_dead_peer_without_a_backlog() {
    let ([a, b, c], _new, blocked) = taken_over().await;
    c.kill();
    sleep(Duration::from_secs(1)).await;
    drop(blocked);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.stored().as_str(), b.stored().as_str()), ("1,", "2,"));
}

#[tokio::test(start_paused = true)]
async fn waits_for_a_dead_peer_with_a_backlog() {
    let ([a, b, _c], _new, _blocked) = taken_over().await;
    a.kill();
    sleep(TIMEOUT - Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "2,");
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_a_dead_peer_that_reported_no_backlog() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1", "c:1"]), net.start("b:1", &[]));
    let c = net.start("c:1", &["a:1", "b:1"]);
    b.set_members(&["a:1", "c:1"]);
    sleep(TIMEOUT).await;
    let blocked = a.block_exports().await;
    a.push(1);
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    sleep(Duration::from_secs(1)).await;
    // `c` has reported that it has no batches of the target.
    c.kill();
    drop(blocked);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "2,");
}

#[tokio::test(start_paused = true)]
async fn delivers_held_back_batches_while_draining() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let blocked = a.block_exports().await;
    a.push(1);
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    drop(new);
    b.handover.stop();
    let drained = tokio::spawn(b.workers.drain(Instant::now() + Duration::from_secs(60)));
    sleep(Duration::from_secs(30)).await;
    assert!(!drained.is_finished());
    drop(blocked);
    let account = drained.await.unwrap();
    assert_eq!((account.stored, account.waiting), (1, 0));
    assert!(account.balances());
}
