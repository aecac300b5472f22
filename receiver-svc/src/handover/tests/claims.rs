//! Claims between receivers that all answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn grants_at_once_without_peers() {
    let net = Net::default();
    let a = net.start("a:1", &[]);
    let start = Instant::now();
    granted(a.claim(TARGET)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn starts_at_once_in_a_healthy_group() {
    let net = Net::default();
    let b = net.start("b:1", &[]);
    sleep(TIMEOUT).await;
    let a = net.start("a:1", &["b:1"]);
    let start = Instant::now();
    let (claim, last_ms) = granted(a.claim(TARGET)).await;
    granted(b.claim(TARGET + 1)).await;
    assert!(start.elapsed() < Duration::from_millis(10));
    assert_eq!(last_ms, None);
    // After the startup hold no unknown receiver can be draining.
    sleep(STARTUP_HOLD + Duration::from_secs(1)).await;
    a.scrape(&claim, 1);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(a.stored(), "1,");
}

#[tokio::test(start_paused = true)]
async fn holds_back_for_the_export_timeout_if_nobody_has_run_that_long() {
    let net = Net::default();
    let (a, _b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let lone = Net::default().start("a:1", &[]);
    for receiver in [&a, &lone] {
        let (claim, _) = granted(receiver.claim(TARGET)).await;
        receiver.scrape(&claim, 1_000);
    }
    sleep(TIMEOUT - Duration::from_millis(100)).await;
    assert_eq!((a.stored(), lone.stored()), (String::new(), String::new()));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((&*a.stored(), &*lone.stored()), ("1000,", "1000,"));
}

#[tokio::test(start_paused = true)]
async fn waits_until_the_previous_owner_stops() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    a.scrape(&old, 500);
    let mut new = b.claim(TARGET);
    assert!(
        !is_granted(&mut new).await,
        "two receivers scrape one target"
    );
    // `b` has not scraped the target. It only claims it.
    drop(old);
    let start = Instant::now();
    let (_new, last_ms) = granted(new).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(last_ms, Some(START_MS + 500));
}

#[tokio::test(start_paused = true)]
async fn passes_on_the_last_scrape_of_an_earlier_owner() {
    let net = Net::default();
    let a = net.start("a:1", &["b:1"]);
    let b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["b:1"]);
    let (old, _) = granted(a.claim(TARGET)).await;
    a.scrape(&old, 500);
    drop(old);
    drop(granted(b.claim(TARGET)).await);
    a.kill();
    let mut claim = c.claim(TARGET);
    let last = timeout(Duration::from_secs(60), claim.granted()).await;
    let (time_ms, is_up) = (START_MS + 500, true);
    assert_eq!(last.unwrap(), Some(ScrapeRecord { time_ms, is_up }));
}

#[tokio::test(start_paused = true)]
async fn grants_one_of_two_simultaneous_claims() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    for target in 0..20 {
        let mut of_b = b.claim(target);
        let (of_a, _) = granted(a.claim(target)).await;
        let both = timeout(Duration::from_secs(2), of_b.granted()).await;
        assert!(both.is_err(), "two receivers scrape target {target}");
        drop(of_a);
        granted(of_b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn asks_receivers_that_only_a_peer_knows() {
    let net = Net::default();
    let a = net.start("a:1", &["b:1", "c:1"]);
    // `c` knows only `b`, which knows `a`.
    let _b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["b:1"]);
    let _old = granted(a.claim(TARGET)).await;
    let mut new = c.claim(TARGET);
    assert!(
        !is_granted(&mut new).await,
        "two receivers scrape one target"
    );
}

#[tokio::test(start_paused = true)]
async fn ignores_a_released_claim() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.claim(TARGET)).await;
    let given_up = b.claim(TARGET);
    sleep(Duration::from_secs(1)).await;
    drop((given_up, old));
    granted(a.claim(TARGET)).await;
}
