//! Receivers that are killed, restart, or stop answering.

use super::*;

/// Response time of a slow receiver.
const SLOW: Duration = Duration::from_millis(600);

#[tokio::test(start_paused = true)]
async fn waits_for_a_killed_peer_until_its_exports_time_out() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    a.scrape(&old, 1);
    a.kill();
    b.set_members(&[]);
    let start = Instant::now();
    let (new, _) = granted(b.claim(TARGET)).await;
    let waited = start.elapsed();
    assert!((GRACE..GRACE * 2).contains(&waited), "{waited:?}");
    b.scrape(&new, 4000);
    // The exports of `a` may be in flight until their timeout.
    sleep(TIMEOUT - waited - Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "4000,");
    // `a` is gone now and is not asked about the next target.
    sleep(TIMEOUT).await;
    let start = Instant::now();
    granted(b.claim(TARGET + 1)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Receiver `a`, which was killed and has restarted at once, and `b`, which knew it before.
async fn killed_and_back() -> (Receiver, Receiver) {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(a.claim(TARGET)).await;
    granted(b.claim(TARGET + 1)).await;
    a.kill();
    (net.start("a:1", &["b:1"]), b)
}

#[tokio::test(start_paused = true)]
async fn waits_for_exports_of_the_process_before_a_restart() {
    let (_again, b) = killed_and_back().await;
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 1);
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT).await;
    assert_eq!(b.stored(), "1,");
}

#[tokio::test(start_paused = true)]
async fn ignores_the_backlog_of_a_restarted_peer_for_its_earlier_exports() {
    let (again, b) = killed_and_back().await;
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 1);
    drop(new);
    // The new process of `a` has newer batches, and knows nothing of the older ones.
    let (newer, _) = granted(again.claim(TARGET)).await;
    again.scrape(&newer, 2);
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT).await;
    assert_eq!((b.stored().as_str(), again.stored().as_str()), ("1,", "2,"));
}

#[tokio::test(start_paused = true)]
async fn counts_earlier_exports_from_the_restart() {
    let (_again, b) = killed_and_back().await;
    // There is nothing to ask for a while.
    sleep(TIMEOUT / 2).await;
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 6_000);
    sleep(TIMEOUT / 4).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "6000,");
}

#[tokio::test(start_paused = true)]
async fn waits_for_its_own_exports_after_a_restart() {
    let (again, b) = killed_and_back().await;
    let start = Instant::now();
    let (claim, _) = granted(again.claim(TARGET)).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    again.scrape(&claim, 1);
    sleep(TIMEOUT - Duration::from_millis(100)).await;
    assert_eq!(again.stored(), "");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(again.stored(), "1,");
    // A receiver that is new to the others waits only for the startup hold.
    drop(claim);
    let c = b.net.start("c:1", &["a:1", "b:1"]);
    let (claim, _) = granted(c.claim(TARGET)).await;
    c.scrape(&claim, 60_000);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(c.stored(), "");
    sleep(STARTUP_HOLD + Duration::from_secs(1)).await;
    assert_eq!(c.stored(), "60000,");
}

#[tokio::test(start_paused = true)]
async fn waits_longer_for_a_peer_with_slow_exports() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    granted(b.claim(TARGET + 1)).await;
    // The exporter does not answer. The lane has doubled its deadline twice by now.
    let _blocked = a.block_exports().await;
    a.scrape(&old, 1);
    sleep(Duration::from_secs(50)).await;
    let span = a.outbox.longest_export_timeout();
    assert!(span > TIMEOUT, "{span:?}");
    a.kill();
    b.set_unready(&["a:1"]);
    b.set_members(&[]);
    let killed = Instant::now();
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 60_000);
    sleep((killed + span).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(b.stored(), "60000,");
}

#[tokio::test(start_paused = true)]
async fn presumes_a_silent_member_partitioned() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let _blocked = a.block_exports().await;
    a.push(1);
    let (new, _) = granted(b.claim(TARGET)).await;
    b.scrape(&new, 2);
    a.kill();
    let mut next = b.claim(TARGET + 1);
    sleep(TIMEOUT * 3).await;
    assert!(!is_granted(&mut next).await, "`a` may go on scraping");
    assert_eq!(b.stored(), "", "`a` may have a backlog");
    // `a` is no longer a member, so it is presumed dead.
    b.set_members(&[]);
    sleep(Duration::from_secs(2)).await;
    assert!(is_granted(&mut next).await);
    assert_eq!(b.stored(), "2,");
}

#[tokio::test(start_paused = true)]
async fn accepts_a_late_response_as_a_sign_of_life() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(b.claim(TARGET)).await;
    // `a` sends no requests, which would be signs of life.
    a.poller.abort();
    let Listener { server, .. } = net.0.lock().remove("a:1").unwrap();
    let mut new = b.claim(TARGET + 1);
    sleep(GRACE).await;
    let listener = Listener {
        server,
        delay: SLOW,
        connections: JoinSet::new(),
    };
    net.0.lock().insert("a:1".to_owned(), listener);
    // Without the late responses `a` would be presumed partitioned.
    assert!(is_granted(&mut new).await);
}

#[tokio::test(start_paused = true)]
async fn takes_over_from_a_silent_member_after_the_away_timeout() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(b.claim(TARGET)).await;
    a.kill();
    let start = Instant::now();
    let mut new = b.claim(TARGET + 1);
    while !is_granted(&mut new).await {}
    let waited = start.elapsed();
    assert!(
        (AWAY_TIMEOUT..AWAY_TIMEOUT + GRACE).contains(&waited),
        "{waited:?}"
    );
}
