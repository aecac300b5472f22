//! Two replica groups with one target each, scraped once a minute: the heartbeat
//! keeps one of them elected for as long as it is healthy (law 7).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use integration::{
    amp::{Amp, AmpOptions, HaTracker},
    in_process,
    sample_app::{SampleApp, SampleAppArgs},
};
use mesh::{
    batch::{Batch, Facts, Ha},
    clock::Clock,
    export::{Export, ExportError, Progress},
    outbox::{Outbox, OutboxArgs, Workers},
    verdict::Verdict,
};
use prometheus_client::registry::Registry;
use receiver_svc::heartbeat::{Heartbeat, HeartbeatMetrics};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tonic::Code;

const START_MS: i64 = 1_795_427_440_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The backend's election behind exporters, every so often one of which dies.
#[derive(Clone)]
struct Backend {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Of this many Exports one is never answered; 0 for none.
    lost_each: usize,
}

#[derive(Default)]
struct State {
    tracker: HaTracker,
    exports: usize,
    /// Requests that arrived of each group: when, and whether they were taken.
    requests: Vec<(String, i64, bool)>,
}

/// A receiver whose target is scraped once a minute.
struct Group {
    healthy: Arc<AtomicBool>,
    account: Outbox,
    _facts: watch::Sender<Arc<Facts>>,
    _workers: Workers,
}

impl Backend {
    fn new(lost_each: usize) -> Self {
        Self {
            clock: Clock::of_runtime(START_MS),
            state: Arc::default(),
            lost_each,
        }
    }

    fn export(self, export: Export) -> BoxFuture<'static, Result<Verdict, ExportError>> {
        let mut state = self.state.lock().unwrap();
        state.exports += 1;
        if self.lost_each > 0 && state.exports.is_multiple_of(self.lost_each) {
            let lost = ExportError::Unknown {
                code: Code::Unavailable,
                message: "connection reset".to_owned(),
                progress: Progress::default(),
            };
            return async { Err(lost) }.boxed();
        }
        let mut verdict = Verdict::default();
        if let Some(ha) = &export.facts.ha {
            let now_ms = self.clock.now_ms();
            let taken = state.tracker.accepts(&ha.cluster, &ha.replica, now_ms);
            state.requests.push((ha.replica.clone(), now_ms, taken));
            verdict.deduplicated = if taken { 0 } else { export.samples };
        }
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok(verdict)
        }
        .boxed()
    }

    /// Starts a group whose scrapes begin `phase` into each minute.
    fn group(&self, replica: Option<&str>, phase: Duration, interval: Duration) -> Group {
        let backend = self.clone();
        let exports = tower::service_fn(move |export| backend.clone().export(export));
        let (outbox, workers) = Outbox::new(&OutboxArgs::default(), self.clock.clone(), exports);
        let facts = Arc::new(Facts {
            ha: replica.map(|replica| Ha {
                cluster: "c".to_owned(),
                replica: replica.to_owned(),
            }),
            ..Facts::default()
        });
        let (sender, told) = watch::channel(Arc::clone(&facts));
        let metrics = HeartbeatMetrics::register(&mut Registry::default());
        let clock = self.clock.clone();
        let beats = Heartbeat::new(interval, outbox.clone(), clock, told, "r:1", metrics);
        let healthy = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&healthy);
        tokio::spawn(beats.run(move |_| asked.load(Ordering::Relaxed)));
        tokio::spawn(scrape(outbox.clone(), self.clock.clone(), facts, phase));
        Group {
            healthy,
            account: outbox,
            _facts: sender,
            _workers: workers,
        }
    }

    fn elections(&self) -> u64 {
        self.state.lock().unwrap().tracker.elections()
    }

    /// The longest time between two requests of a group.
    fn longest_silence(&self, replica: &str) -> Duration {
        let state = self.state.lock().unwrap();
        let own = state
            .requests
            .iter()
            .filter(|(group, _, _)| group == replica);
        let times: Vec<_> = own.map(|(_, time_ms, _)| *time_ms).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        Duration::from_millis(longest.unwrap().unsigned_abs())
    }

    /// Whose requests were taken since `from`.
    fn taken_since(&self, from: Instant) -> Vec<String> {
        let from_ms = self.clock.now_ms() - from.elapsed().as_millis() as i64;
        let state = self.state.lock().unwrap();
        let recent = state.requests.iter();
        let recent = recent.filter(|(_, time_ms, taken)| *taken && *time_ms >= from_ms);
        let mut groups: Vec<_> = recent.map(|(group, _, _)| group.clone()).collect();
        groups.dedup();
        groups
    }
}

/// Pushes what a scrape of one sample comes to, every minute.
async fn scrape(outbox: Outbox, clock: Clock, facts: Arc<Facts>, phase: Duration) {
    sleep(phase).await;
    loop {
        let batch = Batch {
            key: 7,
            payload: Batch::frame(b""),
            samples: 1,
            time_ms: clock.now_ms(),
            facts: Arc::clone(&facts),
        };
        outbox.push(batch).unwrap();
        sleep(MINUTE).await;
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_quiet_pair_does_not_flap_over_a_day() {
    let backend = Backend::new(0);
    let a = backend.group(Some("a"), seconds(5), seconds(3));
    let _b = backend.group(Some("b"), seconds(45), seconds(3));
    sleep(24 * HOUR).await;
    assert_eq!(backend.elections(), 1);
    for group in ["a", "b"] {
        let silence = backend.longest_silence(group);
        assert!(silence < seconds(5), "{group}: {silence:?}");
    }
    let account = a.account.account();
    assert!(account.balances() && account.deduplicated == 0, "{account}");
    // One sample a scrape, and no more heartbeats than there is silence.
    assert!((20_000..30_000).contains(&account.stored), "{account}");
}

#[tokio::test(start_paused = true)]
async fn without_a_heartbeat_it_loses_its_election() {
    let backend = Backend::new(0);
    let _groups = [("a", 5), ("b", 45)]
        .map(|(group, phase)| backend.group(Some(group), seconds(phase), Duration::ZERO));
    sleep(HOUR).await;
    assert!(backend.elections() > 1);
    assert_eq!(backend.longest_silence("a"), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn exporters_that_die_make_no_silence_of_ten_seconds() {
    let backend = Backend::new(7);
    let _groups = [("a", 5), ("b", 45)]
        .map(|(group, phase)| backend.group(Some(group), seconds(phase), seconds(3)));
    sleep(4 * HOUR).await;
    assert_eq!(backend.elections(), 1);
    let silence = backend.longest_silence("a");
    assert!(silence < seconds(10), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_sick_is_left_and_one_that_is_well_stays() {
    let backend = Backend::new(0);
    let a = backend.group(Some("a"), seconds(5), seconds(3));
    let _b = backend.group(Some("b"), seconds(45), seconds(3));
    sleep(HOUR).await;
    assert_eq!(backend.elections(), 1);
    a.healthy.store(false, Ordering::Relaxed);
    // The stamp may have been refreshed by a scrape; it is old 30 s after that.
    sleep(2 * MINUTE).await;
    let well_again = Instant::now();
    a.healthy.store(true, Ordering::Relaxed);
    sleep(4 * HOUR).await;
    assert_eq!(backend.elections(), 2);
    assert_eq!(backend.taken_since(well_again), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_no_replica_has_no_heartbeat() {
    let backend = Backend::new(0);
    let only = backend.group(None, seconds(5), seconds(3));
    sleep(HOUR).await;
    assert_eq!(only.account.account().pushed, 60);
}

/// The services themselves: the heartbeat arrives signed, stamped and accounted
/// for like every other sample.
#[tokio::test(flavor = "multi_thread")]
async fn it_arrives_like_any_other_sample() {
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let app = SampleApp::start(&SampleAppArgs {
        load: 1,
        change_interval: 1,
    });
    let app = app.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let head = format!(
        "global: {{scrape_interval: 5s, external_labels: {{cluster: c, __replica__: a}}}}\n\
         scrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n",
        app.address()
    );
    let config = in_process::write_config(folder.path(), &head, &amp).unwrap();
    let config = format!("--config.file={}", config.display());
    let flags = [
        in_process::own_ports(&["grpc", "web"]),
        vec![config.clone()],
    ]
    .concat();
    let exporter = in_process::exporter(&flags).await.unwrap();
    let own = [
        config,
        format!("--exporter.endpoints={}", exporter.addresses.grpc),
        "--ha.heartbeat-interval=1".to_owned(),
    ];
    let flags = [in_process::own_ports(&["web"]), own.into()].concat();
    let receiver = in_process::receiver(&flags).await.unwrap();
    let selector = "promesh_replica_heartbeat{cluster=\"c\",job=\"promesh\",replica=\"a\"}";
    let arrived = async {
        while amp.backend().select(selector).unwrap().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(MINUTE, arrived).await.unwrap();
    receiver.stop().await.unwrap();
    exporter.stop().await.unwrap();
    let scraped = amp.backend().select("up{cluster=\"c\"}").unwrap();
    let beats = amp.backend().select(selector).unwrap();
    assert!(beats[0].samples[0].timestamp >= scraped[0].samples[0].timestamp);
    assert_eq!(amp.backend().elections(), 1);
}
