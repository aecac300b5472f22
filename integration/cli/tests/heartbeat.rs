//! Two replica groups with one target each, scraped once a minute. The heartbeat keeps one
//! group elected for as long as it is healthy (law 7).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use harness::{
    in_process::InProcess,
    spec::Role,
    topology::{Config, RemoteWrite, Topology},
};
use mesh_base::clock::Clock;
use mesh_contract::{
    batch::{Batch, BatchContext, Ha},
    export::{Export, ExportError, FailureReport},
    report::ExportResponse,
    verdict::Verdict,
};
use mesh_outbox::{Outbox, OutboxArgs, Workers};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use receiver_svc::heartbeat::{Heartbeat, HeartbeatMetrics};
use stand_ins::{
    amp::{Amp, AmpOptions, HaTracker},
    sample_app::{SampleApp, SampleAppArgs},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tonic::Code;

const START_MS: i64 = 1_795_427_440_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The backend's election, behind exporters that can die.
#[derive(Clone)]
struct Backend {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Every n-th export fails with an unknown outcome; 0 for none.
    fail_every: usize,
}

#[derive(Default)]
struct State {
    tracker: HaTracker,
    exports: usize,
    /// Requests that arrived: replica group, time in milliseconds, and whether the backend
    /// accepted them.
    requests: Vec<(String, i64, bool)>,
}

/// A receiver whose target is scraped once a minute.
struct Group {
    healthy: Arc<AtomicBool>,
    outbox: Outbox,
    _context: watch::Sender<Arc<BatchContext>>,
    _workers: Workers,
}

impl Backend {
    fn new(fail_every: usize) -> Self {
        Self {
            clock: Clock::tokio(START_MS),
            state: Arc::default(),
            fail_every,
        }
    }

    fn export(self, export: Export) -> BoxFuture<'static, Result<ExportResponse, ExportError>> {
        let mut state = self.state.lock();
        state.exports += 1;
        if self.fail_every > 0 && state.exports.is_multiple_of(self.fail_every) {
            let unknown = ExportError::Unknown {
                code: Code::Unavailable,
                message: "connection reset".to_owned(),
                is_broken: true,
                report: FailureReport::default(),
            };
            return async { Err(unknown) }.boxed();
        }
        let mut verdict = Verdict::default();
        if let Some(ha) = &export.context.ha {
            let now_ms = self.clock.now_ms();
            let accepted = state.tracker.accepts(&ha.cluster, &ha.replica, now_ms);
            state.requests.push((ha.replica.clone(), now_ms, accepted));
            verdict.deduplicated = if accepted { 0 } else { export.samples };
        }
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok(verdict.into())
        }
        .boxed()
    }

    /// Starts a group that scrapes `phase` after the start of each minute. `interval` is the
    /// heartbeat's; zero disables it.
    fn group(&self, replica: Option<&str>, phase: Duration, interval: Duration) -> Group {
        let backend = self.clone();
        let exports = tower::service_fn(move |export| backend.clone().export(export));
        let (outbox, workers) = Outbox::new(&OutboxArgs::default(), self.clock.clone(), exports);
        let context = Arc::new(BatchContext {
            ha: replica.map(|replica| Ha {
                cluster: "c".to_owned(),
                replica: replica.to_owned(),
            }),
            ..BatchContext::default()
        });
        let (context_sender, contexts) = watch::channel(Arc::clone(&context));
        let metrics = HeartbeatMetrics::register(&mut Registry::default());
        let clock = self.clock.clone();
        let heartbeat = Heartbeat::new(interval, outbox.clone(), clock, contexts, "r:1", metrics);
        let healthy = Arc::new(AtomicBool::new(true));
        let is_healthy = Arc::clone(&healthy);
        tokio::spawn(heartbeat.run(move |_| is_healthy.load(Ordering::Relaxed)));
        tokio::spawn(scrape(outbox.clone(), self.clock.clone(), context, phase));
        Group {
            healthy,
            outbox,
            _context: context_sender,
            _workers: workers,
        }
    }

    fn elections(&self) -> u64 {
        self.state.lock().tracker.elections()
    }

    /// Longest time between two requests of a group.
    fn longest_silence(&self, replica: &str) -> Duration {
        let state = self.state.lock();
        let own = state
            .requests
            .iter()
            .filter(|(group, _, _)| group == replica);
        let times: Vec<_> = own.map(|(_, time_ms, _)| *time_ms).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        Duration::from_millis(longest.unwrap().unsigned_abs())
    }

    /// Groups whose requests the backend has accepted since `from`.
    fn accepted_since(&self, from: Instant) -> Vec<String> {
        let from_ms = self.clock.now_ms() - from.elapsed().as_millis() as i64;
        let state = self.state.lock();
        let recent = state.requests.iter();
        let recent = recent.filter(|(_, time_ms, accepted)| *accepted && *time_ms >= from_ms);
        let mut groups: Vec<_> = recent.map(|(group, _, _)| group.clone()).collect();
        groups.dedup();
        groups
    }
}

/// Pushes a scrape of one sample every minute.
async fn scrape(outbox: Outbox, clock: Clock, context: Arc<BatchContext>, phase: Duration) {
    sleep(phase).await;
    loop {
        let batch = Batch {
            key: 7,
            payload: Batch::frame(b""),
            samples: 1,
            time_ms: clock.now_ms(),
            context: Arc::clone(&context),
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
    let account = a.outbox.account();
    assert!(account.balances() && account.deduplicated == 0, "{account}");
    // One sample per scrape, and heartbeats only between scrapes.
    assert!((20_000..30_000).contains(&account.stored), "{account}");
}

#[tokio::test(start_paused = true)]
async fn without_a_heartbeat_a_group_loses_its_election() {
    let backend = Backend::new(0);
    let _groups = [("a", 5), ("b", 45)]
        .map(|(group, phase)| backend.group(Some(group), seconds(phase), Duration::ZERO));
    sleep(HOUR).await;
    assert!(backend.elections() > 1);
    assert_eq!(backend.longest_silence("a"), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn dying_exporters_cause_no_silence_of_ten_seconds() {
    let backend = Backend::new(7);
    let _groups = [("a", 5), ("b", 45)]
        .map(|(group, phase)| backend.group(Some(group), seconds(phase), seconds(3)));
    sleep(4 * HOUR).await;
    assert_eq!(backend.elections(), 1);
    let silence = backend.longest_silence("a");
    assert!(silence < seconds(10), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_group_loses_its_election_and_a_healthy_one_keeps_it() {
    let backend = Backend::new(0);
    let a = backend.group(Some("a"), seconds(5), seconds(3));
    let _b = backend.group(Some("b"), seconds(45), seconds(3));
    sleep(HOUR).await;
    assert_eq!(backend.elections(), 1);
    a.healthy.store(false, Ordering::Relaxed);
    // A scrape may have refreshed the leader's timestamp. It expires 30 s later.
    sleep(2 * MINUTE).await;
    let recovered = Instant::now();
    a.healthy.store(true, Ordering::Relaxed);
    sleep(4 * HOUR).await;
    assert_eq!(backend.elections(), 2);
    assert_eq!(backend.accepted_since(recovered), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_without_replica_sends_no_heartbeat() {
    let backend = Backend::new(0);
    let only = backend.group(None, seconds(5), seconds(3));
    sleep(HOUR).await;
    assert_eq!(only.outbox.account().pushed, 60);
}

/// Runs the real services. The heartbeat arrives signed, with a timestamp, and is accounted
/// for like every other sample.
#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_arrives_like_any_other_sample() {
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let args = SampleAppArgs {
        load: 1,
        change_interval: Duration::from_secs(1),
    };
    let app = SampleApp::start(&args).await.unwrap();
    let job = format!(
        "- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n",
        app.address()
    );
    let config = Config::default()
        .interval("5s")
        .external_labels("cluster: c, __replica__: a")
        .jobs(&job)
        .remote_write(RemoteWrite::to(&amp));
    let mesh = Topology::new(config)
        .exporters(1)
        .receivers(1)
        .flags(Role::Receiver, ["--ha.heartbeat-interval=1"])
        .start(&InProcess)
        .await
        .unwrap();
    let selector = "promesh_replica_heartbeat{cluster=\"c\",job=\"promesh\",replica=\"a\"}";
    let arrived = async {
        while amp.backend().select(selector).unwrap().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(MINUTE, arrived).await.unwrap();
    mesh.stop().await.unwrap();
    let scraped = amp.backend().select("up{cluster=\"c\"}").unwrap();
    let beats = amp.backend().select(selector).unwrap();
    assert!(beats[0].samples[0].timestamp >= scraped[0].samples[0].timestamp);
    assert_eq!(amp.backend().elections(), 1);
}
