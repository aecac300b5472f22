//! Targets that move between real receivers, which see the members and the targets at
//! different times (laws 1, 2, 8 and 9).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use integration::{
    amp::{Amp, AmpOptions, Arrival, Fault, Outcome, Value},
    child::{Metrics, Service},
    files::replace,
    in_process::{self, Running},
    kube_api::{KubeApi, endpoint_slice, with_unready},
    ports::reserve,
};
use mesh::{http_client::HttpClient, labels::METRIC_NAME};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpSocket,
    time::{sleep, timeout},
};

const INTERVAL: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(120);
/// Counts the scrapes of a target in its own answers.
const SCRAPES: &str = "target_scrapes_total";

/// How often each target was asked.
type Asked = Arc<Mutex<BTreeMap<usize, u64>>>;

/// Three receivers of a group, of which some run and some are members.
struct Group {
    api: KubeApi,
    amp: Amp,
    exporter: Running<exporter_svc::Addresses>,
    /// Where all targets are.
    targets: u16,
    asked: Asked,
    /// The port of the receivers, which have addresses of their own.
    port: u16,
    _reserved: Vec<TcpSocket>,
    receivers: BTreeMap<usize, Service>,
    folder: TempDir,
}

// === impl Group ===

impl Group {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let amp = Amp::start(AmpOptions::default()).await.unwrap();
        let asked = Asked::default();
        let config = in_process::write_config(folder.path(), "", &amp).unwrap();
        let (port, reserved) = free_port();
        let mut flags = in_process::own_ports(&["grpc", "web"]);
        flags.push(format!("--config.file={}", config.display()));
        Self {
            api: KubeApi::start().await.unwrap(),
            amp,
            exporter: in_process::exporter(&flags).await.unwrap(),
            targets: serve(asked.clone()).await,
            asked,
            port,
            _reserved: reserved,
            receivers: BTreeMap::new(),
            folder,
        }
    }

    /// Starts a receiver that knows these targets.
    async fn start(&mut self, n: usize, targets: usize) {
        let folder = self.folder.path().join(n.to_string());
        std::fs::create_dir(&folder).unwrap();
        let config = format!(
            "global: {{scrape_interval: {0}s, scrape_timeout: {0}s}}\nscrape_configs:\n\
             - job_name: moving\n  file_sd_configs: [{{files: [targets.json]}}]\n",
            INTERVAL.as_secs()
        );
        let config_file = folder.join("prometheus.yml");
        std::fs::write(&config_file, config).unwrap();
        self.knows(n, targets);
        let own = format!("{}:{}", ip(n), self.port);
        let arguments = [
            "receiver".to_owned(),
            format!("--config.file={}", config_file.display()),
            format!("--exporter.endpoints={}", self.exporter.addresses.grpc),
            format!("--web.listen-address={own}"),
            format!("--shard.self={own}"),
            format!("--shard.members=k8s:///ns/receiver:{}", self.port),
            "--discovery.update-interval=1".to_owned(),
        ];
        let kubeconfig = self.api.write_kubeconfig(&folder).unwrap();
        let kubeconfig = kubeconfig.display().to_string();
        let environment = [("KUBECONFIG", kubeconfig.as_str())];
        let (program, name) = (env!("CARGO_BIN_EXE_integration"), format!("receiver-{n}"));
        let logs = self.folder.path();
        let started = Service::start(program.as_ref(), &name, &arguments, &environment, logs);
        self.receivers.insert(n, started.await.unwrap());
    }

    /// From now on a receiver knows so many targets.
    fn knows(&self, n: usize, targets: usize) {
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

    /// From now on these receivers are ready.
    fn ready(&self, receivers: &[usize]) {
        let ready = receivers.iter().map(|n| ip(*n));
        self.api.apply(endpoint_slice("ns", "receiver", ready));
    }

    /// Waits until each receiver has no more and no fewer targets than this, all of
    /// them its own.
    async fn settled(&self, counts: &BTreeMap<usize, std::ops::RangeInclusive<u64>>) {
        let mut seen = BTreeMap::new();
        let settled = async {
            loop {
                for n in counts.keys() {
                    let metrics = self.metrics(*n).await;
                    let value = |name| metrics.sum(&format!("promesh_receiver_{name}")) as u64;
                    let owned = value("shard_targets_owned");
                    let moving = value("handover_targets_kept") + value("handover_targets_pending");
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

    /// Waits until the first of the targets have been asked so often more.
    async fn asked_more(&self, targets: usize, times: u64) {
        let asked = |target: usize| {
            self.asked
                .lock()
                .unwrap()
                .get(&target)
                .copied()
                .unwrap_or(0)
        };
        let before: Vec<_> = (0..targets).map(asked).collect();
        let all = async {
            while (0..targets).any(|target| asked(target) < before[target] + times) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(LIMIT, all).await.is_ok();
        assert!(in_time, "not all asked: {:?}", self.asked.lock().unwrap());
    }

    async fn metrics(&self, n: usize) -> Metrics {
        self.receivers[&n].metrics().await.unwrap()
    }

    /// What a receiver answers that is asked about nothing.
    async fn answer(&self, n: usize) -> serde_json::Value {
        let life = json!({"number": 1, "age_ms": 1});
        let question = json!({"from": "judge:1", "life": life, "claimed": [], "held": []});
        let url = format!("http://{}:{}/-/handover", ip(n), self.port);
        let request = http::Request::post(url).header("content-type", "application/json");
        let request = request.body(question.to_string().into()).unwrap();
        let client = HttpClient::new(&Default::default()).unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        serde_json::from_slice(&body.unwrap().to_bytes()).unwrap()
    }
}

fn ip(n: usize) -> String {
    format!("127.0.0.{}", n + 1)
}

fn target_name(target: usize) -> String {
    format!("target-{target}")
}

/// A port that is free at the addresses of all receivers, and stays so for them.
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

/// Serves all targets, each under a path of its own.
async fn serve(asked: Asked) -> u16 {
    let answer = move |axum::extract::Path(target): axum::extract::Path<usize>| async move {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(target).or_default();
        *times += 1;
        let body = format!("# TYPE {SCRAPES} counter\n{SCRAPES} {times}\n");
        ([("content-type", "text/plain; version=0.0.4")], body)
    };
    let app = axum::Router::new().route("/{target}", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

/// Of each target when it was scraped, and the number of the answer.
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
        .map(|(target, of)| (target, of.into_iter().collect()))
        .collect()
}

/// Asserts that no slot was scraped twice and at most one in a row by nobody, and that
/// all answers arrived but for those that were being read by a receiver that stopped.
fn assert_in_order(amp: &Amp, stops: u64) {
    let totals = amp.backend().totals();
    let refused = totals.samples.keys();
    let refused = refused.filter(|it| !matches!(it, Outcome::Stored | Outcome::Duplicate));
    assert_eq!(refused.count(), 0, "{totals:?}");
    let interval_ms = INTERVAL.as_millis() as i64;
    for (target, scrapes) in scrapes(&amp.backend().arrivals()) {
        let mut unread = 0;
        for pair in scrapes.windows(2) {
            let slots = (pair[1].0 - pair[0].0 + interval_ms / 2) / interval_ms;
            assert!(
                (1..=2).contains(&slots),
                "{target}: {slots} slots, {pair:?}"
            );
            assert!(pair[1].1 > pair[0].1, "{target}: {pair:?}");
            unread += pair[1].1 - pair[0].1 - 1;
        }
        assert!(unread <= stops, "{target}: {unread} answers are missing");
    }
    let marker = Value::Float(Value::STALE_NAN);
    let arrivals = amp.backend().arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.value != marker));
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_move_between_receivers_in_order() {
    let mut group = Group::new().await;
    group.ready(&[0, 1]);
    group.start(0, 40).await;
    group.start(1, 40).await;
    group.settled(&[(0, 18..=22), (1, 18..=22)].into()).await;
    group.asked_more(40, 2).await;

    // A third one comes, and hears of the members before the others do or after.
    group.start(2, 40).await;
    group.ready(&[0, 1, 2]);
    let third = 12..=15;
    let even = [(0, third.clone()), (1, third.clone()), (2, third)].into();
    group.settled(&even).await;
    group.asked_more(40, 1).await;

    // The first one alone knows of new targets, which are others' as it sees it, and
    // for which it gives away some that the others take for its own.
    group.knows(0, 60);
    group.asked_more(40, 3).await;
    let orphans = group.metrics(0).await;
    let orphans = orphans.sum("promesh_receiver_handover_orphans_total");
    assert!(orphans > 0.0, "nobody scraped what its owner does not know");
    group.knows(1, 60);
    group.knows(2, 60);
    let third = 18..=22;
    let even = [(0, third.clone()), (1, third.clone()), (2, third)].into();
    group.settled(&even).await;
    group.asked_more(60, 1).await;

    // The second one leaves with a backlog, and answers as long as it has one.
    let faults = group.amp.backend().faults();
    faults.always(Some(Fault::status(503, "away")));
    group.asked_more(60, 1).await;
    let mut second = group.receivers.remove(&1).unwrap();
    let stopped = tokio::spawn(async move { second.stop(LIMIT).await });
    group.ready(&[0, 2]);
    group.settled(&[(0, 28..=32), (2, 28..=32)].into()).await;
    group.asked_more(60, 1).await;
    assert!(!stopped.is_finished(), "its backlog is gone");
    assert!(
        group.answer(1).await["scraped"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    faults.always(None);
    stopped.await.unwrap().unwrap();
    group.asked_more(60, 1).await;

    for (_, mut receiver) in std::mem::take(&mut group.receivers) {
        receiver.stop(LIMIT).await.unwrap();
    }
    group.exporter.stop().await.unwrap();
    assert_eq!(scrapes(&group.amp.backend().arrivals()).len(), 60);
    assert_in_order(&group.amp, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_knows_of_one_that_is_not_ready() {
    let mut group = Group::new().await;
    let slice = endpoint_slice("ns", "receiver", [ip(0)]);
    group.api.apply(with_unready(slice, [ip(1)]));
    group.start(0, 1).await;
    let name = format!("{}:{}", ip(1), group.port);
    let known = async {
        while group.answer(0).await["others"].get(&name).is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(LIMIT, known).await.is_ok(), "it asks nobody");
    // It waits for an answer of that one, which is not there.
    group.settled(&[(0, 1..=1)].into()).await;
    group
        .receivers
        .remove(&0)
        .unwrap()
        .stop(LIMIT)
        .await
        .unwrap();
    group.exporter.stop().await.unwrap();
    assert_in_order(&group.amp, 1);
}
