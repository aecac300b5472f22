//! Receivers that claim targets from each other, under a clock that stands still
//! unless all wait for it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    middleware::{Next, from_fn},
};
use bytes::Bytes;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use mesh::{
    balance::Connector,
    batch::Batch,
    clock::Clock,
    export::{Export, ExportError},
    outbox::{Outbox, OutboxArgs, Workers},
    verdict::Verdict,
};
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::*;

mod wards;

const START_MS: i64 = 1_800_000_000_000;
const TARGET: u64 = 7;
const TIMEOUT: Duration = Duration::from_secs(10);
const AWAY_TIMEOUT: Duration = Duration::from_secs(60);

/// The network between receivers: who listens.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<String, Listener>>>);

/// What answers connections, which end with it.
struct Listener {
    router: Router,
    connections: JoinSet<()>,
}

/// How long a slow receiver takes for an answer.
const SLOW: Duration = Duration::from_millis(600);

/// A receiver without loops: what it claims is scraped by hand.
struct Receiver {
    handover: Handover,
    outbox: Outbox,
    exports: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<Bytes>>>,
    unready: watch::Sender<Option<BTreeSet<String>>>,
    net: Net,
    name: String,
    asker: JoinHandle<()>,
    workers: Workers,
}

// === impl Net ===

impl Net {
    fn connector(&self) -> Connector {
        let net = self.clone();
        Connector::new(move |address| {
            let mut listeners = net.0.lock().unwrap();
            let connected = listeners.get_mut(&address).map(Listener::accept);
            async { connected.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()) }
        })
    }

    /// A receiver that starts and is reachable, and sees these members beside it.
    fn start(&self, name: &str, others: &[&str]) -> Receiver {
        self.start_beside(&[], name, others)
    }

    /// One that finds these not ready as it begins.
    fn start_beside(&self, unready: &[&str], name: &str, others: &[&str]) -> Receiver {
        self.start_with(&OutboxArgs::default(), unready, name, others)
    }

    /// One that spills here what waits for three seconds.
    fn start_spilling(&self, dir: &TempDir, name: &str, others: &[&str]) -> Receiver {
        self.start_with(&spilling(dir), &[], name, others)
    }

    fn start_with(
        &self,
        limits: &OutboxArgs,
        unready: &[&str],
        name: &str,
        others: &[&str],
    ) -> Receiver {
        let clock = Clock::of_runtime(START_MS);
        let exports = Arc::new(Semaphore::new(1));
        let stored = Arc::default();
        let (outbox, workers) = Outbox::sharing_keys(
            limits,
            clock.clone(),
            backend(exports.clone(), Arc::clone(&stored)),
        );
        let unready = watch::Sender::new(Some(names(unready)));
        let options = Options {
            name: name.to_owned(),
            members_are_ready: true,
            unready: unready.subscribe(),
            timeout: TIMEOUT,
            away_timeout: AWAY_TIMEOUT,
            connector: Some(self.connector()),
        };
        let metrics = HandoverMetrics::default();
        let (handover, asker) = Handover::new(options, clock, outbox.clone(), metrics);
        let listener = Listener {
            router: handover.router(),
            connections: JoinSet::new(),
        };
        self.0.lock().unwrap().insert(name.to_owned(), listener);
        let receiver = Receiver {
            handover,
            outbox,
            exports,
            stored,
            unready,
            net: self.clone(),
            name: name.to_owned(),
            asker: tokio::spawn(asker.run()),
            workers,
        };
        receiver.sees(others);
        receiver
    }
}

// === impl Listener ===

impl Listener {
    fn accept(&mut self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(self.router.clone());
        self.connections.spawn(async move {
            let server = TokioIo::new(server);
            let connection = Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(server, service).await;
        });
        client
    }
}

/// What waits for three seconds is spilled here.
fn spilling(dir: &TempDir) -> OutboxArgs {
    let mut limits = OutboxArgs::default();
    limits.spill.spill_dir = Some(dir.path().to_owned());
    limits.spill.spill_after_seconds = 3;
    limits
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn backend(
    exports: Arc<Semaphore>,
    stored: Arc<Mutex<Vec<Bytes>>>,
) -> impl tower::Service<Export, Response = Verdict, Error = ExportError, Future: Send> + Clone {
    tower::service_fn(move |export: Export| {
        let (exports, stored) = (exports.clone(), stored.clone());
        async move {
            let Ok(_open) = exports.acquire().await else {
                return Err(ExportError::Unsent("away".into()));
            };
            stored.lock().unwrap().push(export.payload);
            Ok(Verdict::default())
        }
    })
}

// === impl Receiver ===

impl Receiver {
    fn sees(&self, others: &[&str]) {
        let others: Vec<Arc<str>> = others.iter().map(|name| (*name).into()).collect();
        self.handover.follow(&others);
    }

    fn sees_unready(&self, others: &[&str]) {
        self.unready.send_replace(Some(names(others)));
    }

    /// Scrapes at a time after the start.
    fn scrape(&self, claim: &Claim, after_ms: i64) {
        self.push(after_ms);
        claim.scraped(Seen {
            time_ms: START_MS + after_ms,
            is_up: true,
        });
    }

    fn push(&self, after_ms: i64) {
        let batch = Batch {
            key: TARGET,
            payload: Bytes::from(format!("{after_ms},")),
            samples: 1,
            time_ms: START_MS + after_ms,
            facts: Arc::default(),
        };
        self.outbox.push(batch).unwrap();
    }

    fn stored(&self) -> String {
        String::from_utf8(self.stored.lock().unwrap().concat()).unwrap()
    }

    /// The backend takes nothing of it until it does again.
    async fn cut_off(&self) -> tokio::sync::OwnedSemaphorePermit {
        let exports = self.exports.clone();
        exports.acquire_owned().await.unwrap()
    }

    /// Ends it at once.
    fn kill(self) {
        self.net.0.lock().unwrap().remove(&self.name);
        self.asker.abort();
        drop(self.workers);
    }
}

/// The claim, once it is granted, and what was told of the last scrape.
async fn granted(mut claim: Claim) -> (Claim, Option<i64>) {
    let last = timeout(Duration::from_secs(60), claim.granted()).await;
    let last = last.expect("granted within a minute");
    (claim, last.map(|last| last.time_ms))
}

async fn is_granted(claim: &mut Claim) -> bool {
    timeout(Duration::from_secs(20), claim.granted())
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_asks_nobody() {
    let net = Net::default();
    let a = net.start("a:1", &[]);
    let begun = Instant::now();
    granted(a.handover.claim(TARGET, "j")).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_up_begins_at_once_and_holds_nothing_back() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let begun = Instant::now();
    let (claim, last_ms) = granted(a.handover.claim(TARGET, "j")).await;
    granted(b.handover.claim(TARGET + 1, "j")).await;
    assert!(begun.elapsed() < Duration::from_millis(10));
    assert_eq!(last_ms, None);
    // By then nobody drains who is no member any more.
    sleep(state::YOUTH + Duration::from_secs(1)).await;
    a.scrape(&claim, 1);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(a.stored(), "1,");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_scraped_elsewhere_is_waited_for() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    a.scrape(&old, 500);
    let mut new = b.handover.claim(TARGET, "j");
    assert!(!is_granted(&mut new).await, "two scrape one target");
    // What it has not scraped yet it has no more than claimed.
    drop(old);
    let begun = Instant::now();
    let (_new, last_ms) = granted(new).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(last_ms, Some(START_MS + 500));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_scraped_a_target_tells_what_it_was_told() {
    let net = Net::default();
    let a = net.start("a:1", &["b:1"]);
    let b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["b:1"]);
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    a.scrape(&old, 500);
    drop(old);
    drop(granted(b.handover.claim(TARGET, "j")).await);
    a.kill();
    let mut claim = c.handover.claim(TARGET, "j");
    let last = timeout(Duration::from_secs(60), claim.granted()).await;
    let (time_ms, is_up) = (START_MS + 500, true);
    assert_eq!(last.unwrap(), Some(Seen { time_ms, is_up }));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_claim_one_target_one_goes_first() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    for target in 0..20 {
        let mut of_b = b.handover.claim(target, "j");
        let (of_a, _) = granted(a.handover.claim(target, "j")).await;
        let both = timeout(Duration::from_secs(2), of_b.granted()).await;
        assert!(both.is_err(), "two scrape target {target}");
        drop(of_a);
        granted(of_b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sees_less_is_told_by_the_others() {
    let net = Net::default();
    let a = net.start("a:1", &["b:1", "c:1"]);
    // c knows b alone, which knows a.
    let _b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["b:1"]);
    let _old = granted(a.handover.claim(TARGET, "j")).await;
    let mut new = c.handover.claim(TARGET, "j");
    assert!(!is_granted(&mut new).await, "two scrape one target");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_goes_first() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    let away = a.cut_off().await;
    a.scrape(&old, 1);
    a.scrape(&old, 2);
    // It stops, and has left as b sees it.
    a.handover.stop();
    drop(old);
    b.sees(&[]);
    let (new, last_ms) = granted(b.handover.claim(TARGET, "j")).await;
    assert_eq!(last_ms, Some(START_MS + 2));
    b.scrape(&new, 3);
    sleep(Duration::from_secs(300)).await;
    assert_eq!((a.stored(), b.stored()), (String::new(), String::new()));
    assert_eq!(b.outbox.held_back().batches, 1);
    drop(away);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.stored().as_str(), b.stored().as_str()), ("1,2,", "3,"));
    // Nothing is left that would be asked about.
    b.scrape(&new, 4);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "3,4,");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_waits_for_nobody_in_a_circle() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let away = (a.cut_off().await, b.cut_off().await);
    let mut after_ms = 0;
    for receiver in [&a, &b, &a, &b, &a] {
        let (claim, _) = granted(receiver.handover.claim(TARGET, "j")).await;
        for _ in 0..2 {
            after_ms += 1;
            receiver.scrape(&claim, after_ms);
        }
        sleep(Duration::from_secs(1)).await;
    }
    drop(away);
    sleep(Duration::from_secs(10)).await;
    let stored = (a.stored(), b.stored());
    assert_eq!(stored, ("1,2,5,6,9,10,".to_owned(), "3,4,7,8,".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_is_given_time() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    a.scrape(&old, 1);
    a.kill();
    b.sees(&[]);
    let begun = Instant::now();
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    let waited = begun.elapsed();
    assert!((GRACE..GRACE * 2).contains(&waited), "{waited:?}");
    b.scrape(&new, 4000);
    // Its Exports may be under way for as long as they have.
    sleep(TIMEOUT - waited - Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "4000,");
    // It is found gone, and not asked about the next target.
    sleep(TIMEOUT).await;
    let begun = Instant::now();
    granted(b.handover.claim(TARGET + 1, "j")).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Three of which b has taken a target over from a, which has something of it; c has not.
async fn taken_over() -> ([Receiver; 3], Claim, tokio::sync::OwnedSemaphorePermit) {
    let net = Net::default();
    let a = net.start("a:1", &["b:1", "c:1"]);
    let b = net.start("b:1", &["a:1", "c:1"]);
    let c = net.start("c:1", &["a:1", "b:1"]);
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    let away = a.cut_off().await;
    a.scrape(&old, 1);
    a.handover.stop();
    drop(old);
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    ([a, b, c], new, away)
}

#[tokio::test(start_paused = true)]
async fn one_that_had_nothing_of_a_target_is_not_waited_for() {
    let ([a, b, c], _new, away) = taken_over().await;
    c.kill();
    sleep(Duration::from_secs(1)).await;
    drop(away);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.stored().as_str(), b.stored().as_str()), ("1,", "2,"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_with_a_backlog_is_waited_for() {
    let ([a, b, _c], _new, _away) = taken_over().await;
    a.kill();
    sleep(TIMEOUT - Duration::from_millis(1)).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "2,");
}

/// One that was killed, and is back at once; and another one that knew it.
async fn killed_and_back() -> (Receiver, Receiver) {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(a.handover.claim(TARGET, "j")).await;
    granted(b.handover.claim(TARGET + 1, "j")).await;
    a.kill();
    (net.start("a:1", &["b:1"]), b)
}

#[tokio::test(start_paused = true)]
async fn one_that_is_back_at_once_has_lived_before() {
    let (_again, b) = killed_and_back().await;
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 1);
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT).await;
    assert_eq!(b.stored(), "1,");
}

#[tokio::test(start_paused = true)]
async fn what_one_that_is_back_says_is_not_what_it_has_left() {
    let (again, b) = killed_and_back().await;
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 1);
    drop(new);
    // It has something newer of the target, and no older ones as far as it knows.
    let (newer, _) = granted(again.handover.claim(TARGET, "j")).await;
    again.scrape(&newer, 2);
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT).await;
    assert_eq!((b.stored().as_str(), again.stored().as_str()), ("1,", "2,"));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_one_that_was_killed_counts_from_when_it_is_back() {
    let (_again, b) = killed_and_back().await;
    // Nobody asks anybody for a while.
    sleep(TIMEOUT / 2).await;
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 6_000);
    sleep(TIMEOUT / 4).await;
    assert_eq!(b.stored(), "");
    sleep(TIMEOUT / 2).await;
    assert_eq!(b.stored(), "6000,");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_back_at_once_waits_for_its_own_exports() {
    let (again, b) = killed_and_back().await;
    let begun = Instant::now();
    let (claim, _) = granted(again.handover.claim(TARGET, "j")).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    again.scrape(&claim, 1);
    sleep(TIMEOUT - Duration::from_millis(100)).await;
    assert_eq!(again.stored(), "");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(again.stored(), "1,");
    // One that nobody has known before waits for those that may drain only.
    drop(claim);
    let c = b.net.start("c:1", &["a:1", "b:1"]);
    let (claim, _) = granted(c.handover.claim(TARGET, "j")).await;
    c.scrape(&claim, 60_000);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(c.stored(), "");
    sleep(state::YOUTH + Duration::from_secs(1)).await;
    assert_eq!(c.stored(), "60000,");
}

#[tokio::test(start_paused = true)]
async fn one_whose_exports_take_long_is_given_longer() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    granted(b.handover.claim(TARGET + 1, "j")).await;
    // Nobody answers it: its lane doubles the deadline, twice by now.
    let _away = a.cut_off().await;
    a.scrape(&old, 1);
    sleep(Duration::from_secs(50)).await;
    let span = a.outbox.longest_export();
    assert!(span > TIMEOUT, "{span:?}");
    a.kill();
    b.sees_unready(&["a:1"]);
    b.sees(&[]);
    let killed = Instant::now();
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 60_000);
    sleep((killed + span).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(b.stored(), "60000,");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_a_member_still_is_presumed_to_be_cut_off() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let _away = a.cut_off().await;
    a.push(1);
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    a.kill();
    let mut next = b.handover.claim(TARGET + 1, "j");
    sleep(TIMEOUT * 3).await;
    assert!(!is_granted(&mut next).await, "it may scrape");
    assert_eq!(b.stored(), "", "what it has may wait");
    // Then it is found to have left, so that it was dead.
    b.sees(&[]);
    sleep(Duration::from_secs(2)).await;
    assert!(is_granted(&mut next).await);
    assert_eq!(b.stored(), "2,");
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_late_is_given_longer_again() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(b.handover.claim(TARGET, "j")).await;
    // It has nothing to ask.
    a.asker.abort();
    let Listener { router, .. } = net.0.lock().unwrap().remove("a:1").unwrap();
    let mut new = b.handover.claim(TARGET + 1, "j");
    sleep(GRACE).await;
    let slow = router.layer(from_fn(async |request, next: Next| {
        sleep(SLOW).await;
        next.run(request).await
    }));
    let listener = Listener {
        router: slow,
        connections: JoinSet::new(),
    };
    net.0.lock().unwrap().insert("a:1".to_owned(), listener);
    // Otherwise it would be taken for one that is cut off.
    assert!(is_granted(&mut new).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_not_presumed_to_be_cut_off_for_ever() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(b.handover.claim(TARGET, "j")).await;
    a.kill();
    let begun = Instant::now();
    let mut new = b.handover.claim(TARGET + 1, "j");
    while !is_granted(&mut new).await {}
    let waited = begun.elapsed();
    assert!(
        (AWAY_TIMEOUT..AWAY_TIMEOUT + GRACE).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_older_is_not_waited_for() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1", "c:1"]), net.start("b:1", &[]));
    let c = net.start("c:1", &["a:1", "b:1"]);
    b.sees(&["a:1", "c:1"]);
    let away = a.cut_off().await;
    a.push(1);
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    sleep(Duration::from_secs(1)).await;
    // It answered that it has nothing of the target.
    c.kill();
    drop(away);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(b.stored(), "2,");
}

/// One whose batches waited for so long when it was killed, and when that was, another that
/// has taken over its target, and what the first has on its disk.
async fn killed_with_a_backlog(waited: Duration) -> (Instant, Receiver, TempDir) {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let a = net.start_spilling(&dir, "a:1", &["b:1"]);
    let b = net.start("b:1", &["a:1"]);
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    granted(b.handover.claim(TARGET + 1, "j")).await;
    let _away = a.cut_off().await;
    a.scrape(&old, 1);
    sleep(waited).await;
    a.kill();
    b.sees_unready(&["a:1"]);
    b.sees(&[]);
    let killed = Instant::now();
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 30_000);
    (killed, b, dir)
}

#[tokio::test(start_paused = true)]
async fn one_with_a_backlog_on_its_disk_is_waited_for() {
    let (killed, b, dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + TIMEOUT * 2).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    let again = b.net.start_spilling(&dir, "a:1", &["b:1"]);
    // Its fence, by a clock that has begun anew, and a round of questions.
    sleep(TIMEOUT * 2).await;
    assert_eq!(
        (again.stored().as_str(), b.stored().as_str()),
        ("1,", "30000,")
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_come_back_is_not_waited_for_for_ever() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + AWAY_TIMEOUT - GRACE).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "");
    sleep(GRACE * 2).await;
    assert_eq!(b.stored(), "30000,");
}

#[tokio::test(start_paused = true)]
async fn one_whose_pod_is_gone_is_waited_for_as_if_it_had_no_disk() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    sleep((killed + TIMEOUT).duration_since(Instant::now())).await;
    b.sees_unready(&[]);
    assert_eq!(b.stored(), "");
    sleep(GRACE).await;
    assert_eq!(b.stored(), "30000,");
}

#[tokio::test(start_paused = true)]
async fn one_that_had_nothing_on_its_disk_is_not_waited_for() {
    let (killed, b, _dir) = killed_with_a_backlog(Duration::from_millis(100)).await;
    sleep((killed + TIMEOUT + GRACE).duration_since(Instant::now())).await;
    assert_eq!(b.stored(), "30000,");
}

/// Whether one that spills, and finds `a:1` not ready as it begins, delivers within `waits`.
async fn delivers_beside_one_unready(
    net: &Net,
    name: &str,
    others: &[&str],
    waits: Duration,
) -> bool {
    let dir = TempDir::new().unwrap();
    let b = net.start_with(&spilling(&dir), &["a:1"], name, others);
    let (claim, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&claim, 30_000);
    sleep(waits).await;
    let delivers = b.stored() == "30000,";
    b.kill();
    delivers
}

#[tokio::test(start_paused = true)]
async fn who_begins_alone_waits_for_one_that_is_not_ready_and_may_have_a_disk() {
    let net = Net::default();
    let waits = AWAY_TIMEOUT - GRACE * 2;
    assert!(!delivers_beside_one_unready(&net, "b:1", &[], waits).await);
    assert!(delivers_beside_one_unready(&net, "d:1", &[], AWAY_TIMEOUT + GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_ready_and_starts_has_nothing() {
    let net = Net::default();
    let _a = net.start("a:1", &[]);
    assert!(delivers_beside_one_unready(&net, "b:1", &[], GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn one_of_which_those_know_nothing_who_have_waited_is_not_waited_for() {
    let net = Net::default();
    let _c = net.start("c:1", &[]);
    // c may have come after it was killed, and have nothing to say of it.
    sleep(AWAY_TIMEOUT / 2).await;
    assert!(!delivers_beside_one_unready(&net, "b:1", &["c:1"], GRACE).await);
    sleep(AWAY_TIMEOUT).await;
    assert!(delivers_beside_one_unready(&net, "d:1", &["c:1"], GRACE).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_tells_who_begins_of_a_backlog_on_a_disk() {
    let (_, b, dir) = killed_with_a_backlog(Duration::from_secs(6)).await;
    // It scrapes no more, and is no member.
    let away = b.cut_off().await;
    b.handover.stop();
    let c = b.net.start_beside(&["b:1"], "c:1", &[]);
    let (claim, _) = granted(c.handover.claim(TARGET, "j")).await;
    c.scrape(&claim, 60_000);
    drop(away);
    sleep(TIMEOUT * 2).await;
    assert_eq!(c.stored(), "");
    let a = c.net.start_spilling(&dir, "a:1", &["c:1"]);
    sleep(TIMEOUT * 2).await;
    let stored = [&a, &b, &c].map(Receiver::stored);
    assert_eq!(stored, ["1,", "30000,", "60000,"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_when_it_was_spilled_waits_still() {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let (a, b) = (
        net.start("a:1", &["b:1"]),
        net.start_spilling(&dir, "b:1", &["a:1"]),
    );
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    let away = a.cut_off().await;
    a.scrape(&old, 1);
    drop(old);
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    sleep(Duration::from_secs(6)).await;
    b.kill();
    drop(new);
    let again = net.start_spilling(&dir, "b:1", &["a:1"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(again.stored(), "");
    assert_eq!(again.outbox.account().waiting, 1);
    drop(away);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (a.stored(), again.stored()),
        ("1,".to_owned(), "2,".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_has_left_waits_for_nobody_where_there_is_nobody() {
    let (net, dir) = (Net::default(), TempDir::new().unwrap());
    let a = net.start_spilling(&dir, "a:1", &[]);
    let _away = a.cut_off().await;
    a.push(1);
    sleep(Duration::from_secs(6)).await;
    a.kill();
    let again = net.start_spilling(&dir, "a:1", &[]);
    sleep(TIMEOUT * 2).await;
    assert_eq!(again.stored(), "1,");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_is_in_nobody_s_way() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    let given_up = b.handover.claim(TARGET, "j");
    sleep(Duration::from_secs(1)).await;
    drop((given_up, old));
    granted(a.handover.claim(TARGET, "j")).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_drains_delivers_what_it_holds_back() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let away = a.cut_off().await;
    a.push(1);
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    drop(new);
    b.handover.stop();
    let drained = tokio::spawn(b.workers.drain(Instant::now() + Duration::from_secs(60)));
    sleep(Duration::from_secs(30)).await;
    assert!(!drained.is_finished());
    drop(away);
    let account = drained.await.unwrap();
    assert_eq!((account.stored, account.waiting), (1, 0));
    assert!(account.balances());
}

#[tokio::test(start_paused = true)]
async fn one_that_has_said_goodbye_is_not_waited_for() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    sleep(state::YOUTH).await;
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    a.scrape(&old, 1);
    drop(old);
    a.handover.stop();
    a.handover.drained().await;
    a.kill();
    // Whether or not it is still a member.
    let begun = Instant::now();
    let (new, _) = granted(b.handover.claim(TARGET, "j")).await;
    b.scrape(&new, 2);
    sleep(Duration::from_millis(1)).await;
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert_eq!(b.stored(), "2,");
    // Back again it is one that scrapes.
    let a = net.start("a:1", &["b:1"]);
    let _again = granted(a.handover.claim(TARGET + 1, "j")).await;
    a.kill();
    b.sees(&[]);
    let begun = Instant::now();
    granted(b.handover.claim(TARGET + 1, "j")).await;
    assert!(begun.elapsed() >= GRACE);
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_is_heard_of_by_those_who_begin() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let (old, _) = granted(a.handover.claim(TARGET, "j")).await;
    let away = a.cut_off().await;
    a.scrape(&old, 1);
    drop(old);
    a.handover.stop();
    b.kill();
    sleep(TIMEOUT).await;
    // It is alone among the members.
    let again = net.start("b:1", &[]);
    let (new, _) = granted(again.handover.claim(TARGET, "j")).await;
    again.scrape(&new, 2);
    sleep(TIMEOUT * 3).await;
    assert_eq!(again.stored(), "");
    drop(away);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (a.stored(), again.stored()),
        ("1,".to_owned(), "2,".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_says_so_to_those_who_came_later() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let _old = granted(a.handover.claim(TARGET, "j")).await;
    a.handover.stop();
    b.sees(&[]);
    sleep(Duration::from_secs(1)).await;
    // It hears of the one that stops from the other, and asks it.
    let c = net.start("c:1", &["b:1"]);
    granted(c.handover.claim(TARGET, "j")).await;
    a.kill();
    let begun = Instant::now();
    granted(c.handover.claim(TARGET + 1, "j")).await;
    assert!(begun.elapsed() < GRACE / 2, "{:?}", begun.elapsed());
}
