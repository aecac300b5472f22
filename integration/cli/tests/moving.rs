//! Moves targets between real receivers. The receivers learn of members and targets at
//! different times (laws 1, 2, 8 and 9).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use harness::{
    in_process::{InProcess, Running},
    launcher::Launcher,
    metrics::Metrics,
    process::{Process, Processes},
    spec::{Addresses, ServiceSpec},
    topology::{Config, KeysIn, Mesh, RemoteWrite, Topology},
};
use mesh_model::labels::METRIC_NAME;
use parking_lot::Mutex;
use serde_json::json;
use stand_ins::{
    amp::{Amp, AmpOptions, Arrival, Fault, Outcome, Value},
    files::replace,
    kube_api::{KubeApi, endpoint_slice, with_unready},
    ports::reserve,
};
use tempfile::TempDir;
use tokio::{
    net::TcpSocket,
    time::{sleep, timeout},
};

const INTERVAL: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(120);
/// Counter in a target's responses that numbers its scrapes.
const SCRAPES: &str = "target_scrapes_total";

/// Number of scrapes that each target has answered.
type ScrapeCounts = Arc<Mutex<BTreeMap<usize, u64>>>;

/// A replica group of up to three receivers. A running receiver need not be a member.
struct Group {
    api: KubeApi,
    amp: Amp,
    /// One exporter.
    mesh: Mesh<Running>,
    /// Port of the server of all targets.
    targets: u16,
    scrape_counts: ScrapeCounts,
    /// Ports of all receivers for each other, and for administration. Each receiver has its own
    /// loopback address.
    port: u16,
    web_port: u16,
    /// Sockets of the first of these ports, by receiver.
    reserved: Vec<TcpSocket>,
    _reserved_web: Vec<TcpSocket>,
    receivers: BTreeMap<usize, Process>,
    folder: TempDir,
}

// === impl Group ===

impl Group {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let amp = Amp::start(AmpOptions::default()).await.unwrap();
        let scrape_counts = ScrapeCounts::default();
        let config = Config::default().remote_write(RemoteWrite::to(&amp));
        let mesh = Topology::new(config).exporters(1);
        let (port, reserved) = free_port();
        let (web_port, reserved_web) = free_port();
        Self {
            api: KubeApi::start().await.unwrap(),
            amp,
            mesh: mesh.start(&InProcess).await.unwrap(),
            targets: serve(scrape_counts.clone()).await,
            scrape_counts,
            port,
            web_port,
            reserved,
            _reserved_web: reserved_web,
            receivers: BTreeMap::new(),
            folder,
        }
    }

    /// Starts receiver `n` with the first `targets` targets in its discovery.
    async fn start(&mut self, n: usize, targets: usize) {
        let folder = self.folder.path().join(n.to_string());
        std::fs::create_dir(&folder).unwrap();
        let config_file = folder.join("prometheus.yml");
        Config::default()
            .interval(&format!("{}s", INTERVAL.as_secs()))
            .jobs("- job_name: moving\n  file_sd_configs: [{files: [targets.json]}]\n")
            .write(&config_file, KeysIn::File)
            .unwrap();
        self.discovers(n, targets);
        let exporter = self.mesh.exporters[0].addresses.grpc().unwrap();
        let at = |port| format!("{}:{port}", ip(n)).parse().unwrap();
        let own = Addresses {
            grpc: Some(at(self.port)),
            ..Addresses::web(at(self.web_port))
        };
        let kubeconfig = self.api.write_kubeconfig(&folder).unwrap();
        let name = format!("receiver-{n}");
        let spec = ServiceSpec::receiver(&name, own, &config_file, &exporter.to_string())
            .member_of(&format!("k8s:///ns/receiver:{}", self.port))
            .flag("--discovery.update-interval=1")
            .env("KUBECONFIG", &kubeconfig.display().to_string());
        let launcher = Processes::new(env!("CARGO_BIN_EXE_integration").as_ref());
        let started = launcher.launch(&spec, self.folder.path()).await;
        self.receivers.insert(n, started.unwrap());
    }

    /// Sets the number of targets that receiver `n` discovers.
    fn discovers(&self, n: usize, targets: usize) {
        let folder = self.folder.path().join(n.to_string());
        let group = |target| {
            json!({
                "targets": [format!("127.0.0.1:{}", self.targets)],
                "labels": {"instance": target_name(target), "__metrics_path__": format!("/{target}")},
            })
        };
        let groups: Vec<_> = (0..targets).map(group).collect();
        replace(&folder.join("targets.json"), &json!(groups).to_string()).unwrap();
    }

    /// Sets the receivers that are ready, and hence members.
    fn set_ready(&self, receivers: &[usize]) {
        let ready = receivers.iter().map(|n| ip(*n));
        self.api.apply(endpoint_slice("ns", "receiver", ready));
    }

    /// Waits until each receiver owns a number of targets in its range and no target moves.
    async fn wait_until_settled(&self, counts: &BTreeMap<usize, std::ops::RangeInclusive<u64>>) {
        let mut seen = BTreeMap::new();
        let settled = async {
            loop {
                for n in counts.keys() {
                    let metrics = self.metrics(*n).await;
                    let value = |name| metrics.sum(&format!("promesh_receiver_{name}")) as u64;
                    let owned = value("shard_targets_owned");
                    let moving =
                        value("handover_targets_retained") + value("handover_targets_pending");
                    seen.insert(*n, (owned, moving));
                }
                let is_settled = |n: &usize| counts[n].contains(&seen[n].0) && seen[n].1 == 0;
                if counts.keys().all(is_settled) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = timeout(LIMIT, settled).await.is_ok();
        assert!(in_time, "{seen:?}, expected {counts:?}");
    }

    /// Waits until each of the first `targets` targets has answered `times` more scrapes.
    async fn wait_for_scrapes(&self, targets: usize, times: u64) {
        let count = |target: usize| self.scrape_counts.lock().get(&target).copied().unwrap_or(0);
        let before: Vec<_> = (0..targets).map(count).collect();
        let all = async {
            while (0..targets).any(|target| count(target) < before[target] + times) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(LIMIT, all).await.is_ok();
        assert!(
            in_time,
            "not every target was scraped: {:?}",
            self.scrape_counts.lock()
        );
    }

    /// Number of targets that receiver `n` has adopted, since no other one scraped them.
    async fn orphans(&self, n: usize) -> f64 {
        let metrics = self.metrics(n).await;
        metrics.sum("promesh_receiver_handover_orphans_total")
    }

    /// Waits until receiver `n` has adopted more than `before` targets.
    async fn wait_for_orphans(&self, n: usize, before: f64) {
        let adopted = async {
            while self.orphans(n).await <= before {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = timeout(LIMIT, adopted).await.is_ok();
        assert!(
            in_time,
            "no receiver scraped a target that its owner has not discovered"
        );
    }

    async fn metrics(&self, n: usize) -> Metrics {
        self.receivers[&n].metrics().await.unwrap()
    }
}

fn ip(n: usize) -> String {
    format!("127.0.0.{}", n + 1)
}

fn target_name(target: usize) -> String {
    format!("target-{target}")
}

/// Reserves a port that is free on the addresses of all receivers.
fn free_port() -> (u16, Vec<TcpSocket>) {
    let at = |n, port| reserve(format!("{}:{port}", ip(n)).parse().unwrap());
    let free = || {
        let first = at(0, 0).ok()?;
        let port = first.local_addr().ok()?.port();
        let others = (1..3).map(|n| at(n, port));
        let all: Result<Vec<_>, _> = [Ok(first)].into_iter().chain(others).collect();
        Some((port, all.ok()?))
    };
    (0..100).find_map(|_| free()).unwrap()
}

/// Serves all targets, each under its own path.
async fn serve(scrape_counts: ScrapeCounts) -> u16 {
    let answer = move |axum::extract::Path(target): axum::extract::Path<usize>| async move {
        let mut scrape_counts = scrape_counts.lock();
        let count = scrape_counts.entry(target).or_default();
        *count += 1;
        let body = format!("# TYPE {SCRAPES} counter\n{SCRAPES} {count}\n");
        ([("content-type", "text/plain; version=0.0.4")], body)
    };
    let app = axum::Router::new().route("/{target}", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

/// Stored scrapes of each target: timestamp and number of the response.
fn scrapes(arrivals: &[Arrival]) -> BTreeMap<String, Vec<(i64, u64)>> {
    let mut scrapes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for arrival in arrivals {
        if arrival.labels.get(METRIC_NAME) != Some(SCRAPES) {
            continue;
        }
        let number = arrival.value.as_float().expect("a number") as u64;
        let instance = arrival.labels.get("instance").unwrap().to_owned();
        let of_target = scrapes.entry(instance).or_default();
        of_target.insert((arrival.timestamp, number));
    }
    let scrapes = scrapes.into_iter();
    scrapes
        .map(|(target, scrapes)| (target, scrapes.into_iter().collect()))
        .collect()
}

/// Timestamps of the failed scrapes of each target.
fn failed_scrapes(arrivals: &[Arrival]) -> BTreeMap<&str, BTreeSet<i64>> {
    let mut failed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for arrival in arrivals {
        let is_up = arrival.labels.get(METRIC_NAME) == Some("up");
        if is_up && arrival.value.as_float() == Some(0.0) {
            let instance = arrival.labels.get("instance").unwrap_or_default();
            failed
                .entry(instance)
                .or_default()
                .insert(arrival.timestamp);
        }
    }
    failed
}

/// Start of a target's slots within an interval. Scrapes may be late, but not early.
fn phase_ms(scrapes: &[(i64, u64)], interval_ms: i64) -> i64 {
    let phases = scrapes
        .iter()
        .map(|(at_ms, _)| at_ms.rem_euclid(interval_ms));
    let total_delay = |phase_ms: &i64| -> i64 {
        let delays = scrapes.iter();
        delays
            .map(|(at_ms, _)| (at_ms - phase_ms).rem_euclid(interval_ms))
            .sum()
    };
    phases.min_by_key(total_delay).unwrap()
}

/// Asserts what holds on a machine of any speed: samples arrive in order, no slot is scraped
/// twice, and only a failed scrape causes staleness markers. `chaos` judges missed slots.
///
/// All responses must have arrived, except those of failed scrapes, and except one per target
/// for each of `stops` receivers that stopped: that receiver may have been reading it.
fn assert_in_order(amp: &Amp, stops: u64) {
    let totals = amp.backend().totals();
    let accepted = |outcome: &Outcome| matches!(outcome, Outcome::Stored | Outcome::Duplicate);
    assert!(totals.samples.keys().all(accepted), "{totals:?}");
    let interval_ms = INTERVAL.as_millis() as i64;
    let arrivals = amp.backend().arrivals();
    let failed = failed_scrapes(&arrivals);
    for (target, scrapes) in scrapes(&arrivals) {
        let phase_ms = phase_ms(&scrapes, interval_ms);
        let slot = |at_ms: i64| (at_ms - phase_ms).div_euclid(interval_ms);
        let mut missing = 0;
        for pair in scrapes.windows(2) {
            let is_next = slot(pair[1].0) > slot(pair[0].0);
            assert!(is_next, "{target}: two scrapes in a slot, {pair:?}");
            assert!(pair[1].1 > pair[0].1, "{target}: {pair:?}");
            missing += pair[1].1 - pair[0].1 - 1;
        }
        let failed = failed.get(target.as_str()).map_or(0, BTreeSet::len) as u64;
        assert!(
            missing <= stops + failed,
            "{target}: {missing} responses are missing, {failed} scrapes failed"
        );
    }
    let marker = Value::Float(Value::STALE_NAN);
    for arrival in arrivals.iter().filter(|arrival| arrival.value == marker) {
        let failed = arrival
            .labels
            .get("instance")
            .and_then(|target| failed.get(target));
        let has_failed = failed.is_some_and(|times| times.contains(&arrival.timestamp));
        assert!(
            has_failed,
            "marker of {} at {}",
            arrival.labels, arrival.timestamp
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_move_between_receivers_in_order() {
    let mut group = Group::new().await;
    group.set_ready(&[0, 1]);
    group.start(0, 40).await;
    group.start(1, 40).await;
    group
        .wait_until_settled(&[(0, 18..=22), (1, 18..=22)].into())
        .await;
    group.wait_for_scrapes(40, 2).await;

    // A third receiver joins. It may learn of the members before or after the others.
    group.start(2, 40).await;
    group.set_ready(&[0, 1, 2]);
    let third = 12..=15;
    let even = [(0, third.clone()), (1, third.clone()), (2, third)].into();
    group.wait_until_settled(&even).await;
    group.wait_for_scrapes(40, 1).await;

    // Only the first receiver discovers the new targets, some of which belong to others. It
    // gives up old targets, which the others still assign to it.
    let orphans = group.orphans(0).await;
    group.discovers(0, 60);
    group.wait_for_scrapes(40, 3).await;
    group.wait_for_orphans(0, orphans).await;
    group.discovers(1, 60);
    group.discovers(2, 60);
    let third = 18..=22;
    let even = [(0, third.clone()), (1, third.clone()), (2, third)].into();
    group.wait_until_settled(&even).await;
    group.wait_for_scrapes(60, 1).await;

    // The second receiver leaves with a backlog, and answers until that is delivered.
    let faults = group.amp.backend().faults();
    faults.always(Some(Fault::status(503, "unavailable")));
    group.wait_for_scrapes(60, 1).await;
    let mut second = group.receivers.remove(&1).unwrap();
    let stopped = tokio::spawn(async move { second.stop(LIMIT).await });
    group.set_ready(&[0, 2]);
    group
        .wait_until_settled(&[(0, 28..=32), (2, 28..=32)].into())
        .await;
    group.wait_for_scrapes(60, 1).await;
    assert!(
        !stopped.is_finished(),
        "the receiver stopped with a backlog"
    );
    faults.always(None);
    stopped.await.unwrap().unwrap();
    group.wait_for_scrapes(60, 1).await;

    for (_, mut receiver) in std::mem::take(&mut group.receivers) {
        receiver.stop(LIMIT).await.unwrap();
    }
    group.mesh.stop().await.unwrap();
    assert_eq!(scrapes(&group.amp.backend().arrivals()).len(), 60);
    assert_in_order(&group.amp, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_receiver_asks_a_member_that_is_not_ready() {
    let mut group = Group::new().await;
    let slice = endpoint_slice("ns", "receiver", [ip(0)]);
    group.api.apply(with_unready(slice, [ip(1)]));
    group.start(0, 1).await;
    let peer = group.reserved.remove(1).listen(16).unwrap();
    assert!(
        timeout(LIMIT, peer.accept()).await.is_ok(),
        "the receiver does not call the other one"
    );
    // The receiver waits for a response of the other one, which does not run.
    group.wait_until_settled(&[(0, 1..=1)].into()).await;
    group
        .receivers
        .remove(&0)
        .unwrap()
        .stop(LIMIT)
        .await
        .unwrap();
    group.mesh.stop().await.unwrap();
    assert_in_order(&group.amp, 1);
}
