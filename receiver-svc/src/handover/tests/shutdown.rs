//! Orderly shutdown of a receiver.

use super::*;

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_a_drained_peer() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    sleep(STARTUP_HOLD).await;
    let (old, _) = granted(a.claim(TARGET)).await;
    a.scrape(&old, 1);
    drop(old);
    a.handover.stop();
    a.handover.announce_drained().await;
    a.kill();
    // `a` may still be a member.
    let start = Instant::now();
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    sleep(Duration::from_millis(1)).await;
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(b.stored(), "2,");
    // After a restart `a` scrapes again.
    let a = net.start("a:1", &["b:1"]);
    let _again = granted(a.claim(TARGET + 1)).await;
    a.kill();
    b.set_members(&[]);
    let start = Instant::now();
    granted(b.claim(TARGET + 1)).await;
    assert!(start.elapsed() >= GRACE);
}

#[tokio::test(start_paused = true)]
async fn learns_of_a_draining_peer_that_is_no_member() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    let blocked = a.block_exports().await;
    a.scrape(&old, 1);
    drop(old);
    a.handover.stop();
    b.kill();
    sleep(TIMEOUT).await;
    // `b` is the only member.
    let again = net.start("b:1", &[]);
    let (new, _) = granted(again.claim(TARGET)).await;
    again.scrape(&new, 2);
    sleep(TIMEOUT * 3).await;
    assert_eq!(again.stored(), "");
    drop(blocked);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (a.stored(), again.stored()),
        ("1,".to_owned(), "2,".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn learns_that_a_peer_stops_from_its_response() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let _old = granted(a.claim(TARGET)).await;
    a.handover.stop();
    b.set_members(&[]);
    sleep(Duration::from_secs(1)).await;
    // `c` learns about `a` from `b`, and asks it.
    let c = net.start("c:1", &["b:1"]);
    granted(c.claim(TARGET)).await;
    a.kill();
    let start = Instant::now();
    granted(c.claim(TARGET + 1)).await;
    assert!(start.elapsed() < GRACE / 2, "{:?}", start.elapsed());
}
