//! Bad targets, backends and configurations. Each failure has a clear message and a counter,
//! and affects nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::{
    in_process::{InProcess, Running},
    launcher::{Launcher, Service},
    metrics::Metrics,
    spec::{Addresses, Role, ServiceSpec},
    topology::{Config, Mesh, RemoteWrite, Topology},
};
use stand_ins::{
    amp::{Amp, AmpOptions, Fault, Outcome},
    files::replace,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A receiver and an exporter in front of a stand-in.
struct Pair {
    amp: Amp,
    mesh: Mesh<Running>,
}

impl Pair {
    async fn start(jobs: &str) -> Self {
        let amp = Amp::start(AmpOptions::default()).await.unwrap();
        let mesh = topology(jobs, &amp).start(&InProcess).await.unwrap();
        Self { amp, mesh }
    }

    async fn metrics(&self) -> Metrics {
        let web = self.mesh.receivers[0].addresses.web;
        Metrics::fetch(web).await.unwrap()
    }

    /// Waits until a metric of the receiver reaches `value`.
    async fn until(&self, name: &str, value: f64) {
        let reached = async {
            while self.metrics().await.sum(name) < value {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let name = format!("{name} >= {value}");
        timeout(TIMEOUT, reached)
            .await
            .unwrap_or_else(|_| panic!("{name}"));
    }
}

/// A receiver and an exporter in front of `amp`, not started yet.
fn topology(jobs: &str, amp: &Amp) -> Topology {
    let config = Config::default()
        .interval("1s")
        .jobs(jobs)
        .remote_write(RemoteWrite::to(amp));
    Topology::new(config)
        .exporters(1)
        .receivers(1)
        // A short deadline, for the backend that does not answer.
        .flags(Role::Receiver, ["--outbox.deadline=2"])
}

fn job(name: &str, target: &str) -> String {
    format!("- job_name: {name}\n  static_configs: [{{targets: ['{target}']}}]\n")
}

async fn app(body: &'static str) -> String {
    counting_app(body).await.0
}

/// Starts an app that counts its scrapes. Returns its address and the count.
async fn counting_app(body: &'static str) -> (String, Arc<AtomicUsize>) {
    let scrapes = Arc::new(AtomicUsize::new(0));
    let counter = scrapes.clone();
    let answer = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        ([("content-type", "text/plain; version=0.0.4")], body)
    };
    let never = || std::future::pending::<()>();
    let app = axum::Router::new()
        .route("/metrics", axum::routing::get(answer))
        .route("/never", axum::routing::get(never));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, scrapes)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_bad_targets_are_down() {
    let (good, garbage) = (app("a 1\n").await, app("what is this\n").await);
    let at = |path: &str, name: &str| {
        job(name, &good).replace("  static", &format!("  metrics_path: {path}\n  static"))
    };
    let jobs = [
        job("good", &good),
        job("garbage", &garbage),
        at("/nowhere", "missing"),
        at("/never", "slow"),
    ];
    let pair = Pair::start(&jobs.concat()).await;
    for reason in ["parse", "http_status", "timeout"] {
        let counter = format!("promesh_receiver_scrape_failures_total{{reason=\"{reason}\"}}");
        pair.until(&counter, 1.0).await;
    }
    let stored = |job: &str| {
        let selector = format!("up{{job=\"{job}\"}}");
        pair.amp.backend().select(&selector).unwrap()
    };
    let all_stored = async {
        while ["good", "garbage", "missing", "slow"]
            .iter()
            .any(|job| stored(job).is_empty())
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, all_stored).await.unwrap();
    let up = |job: &str| stored(job)[0].samples[0].value.clone();
    let float = |value: f64| stand_ins::amp::Value::Float(value.to_bits());
    assert_eq!(
        [up("good"), up("garbage"), up("missing"), up("slow")],
        [1.0, 0.0, 0.0, 0.0].map(float)
    );
    pair.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_backend_loses_nothing() {
    let (address, scrapes) = counting_app("a 1\n").await;
    let mut pair = Pair::start(&job("a", &address)).await;
    let faults = [
        Fault::status(500, "oops"),
        Fault::status(403, "no"),
        Fault::throttle(1),
        Fault::status(503, ""),
        Fault::Hang,
        Fault::StoreAndHang,
    ];
    pair.amp.backend().faults().next(faults);
    pair.until("promesh_receiver_outbox_samples_stored_total", 12.0)
        .await;
    assert_eq!(pair.amp.backend().faults().remaining(), 0);
    pair.mesh.stop_senders().await.unwrap();
    let totals = pair.amp.backend().totals();
    for bad in [Outcome::OutOfOrder, Outcome::Conflict, Outcome::Refused] {
        assert_eq!(totals.of(bad), 0, "{}", bad.as_str());
    }
    let stored = pair.amp.backend().select("a").unwrap();
    // The shutdown may have interrupted one scrape.
    let answered = scrapes.load(Ordering::SeqCst);
    assert!(
        answered - stored[0].samples.len() <= 1,
        "{answered} answered"
    );
    pair.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_rejected_samples_and_does_not_retry_them() {
    let mut pair = Pair::start(&job("a", &app("bad 1\n").await)).await;
    pair.amp
        .backend()
        .faults()
        .next([Fault::RejectMetric("bad".to_owned())]);
    pair.until("promesh_receiver_outbox_samples_rejected_total", 1.0)
        .await;
    pair.until("promesh_receiver_outbox_samples_stored_total", 6.0)
        .await;
    pair.mesh.stop_senders().await.unwrap();
    assert_eq!(pair.amp.backend().totals().of(Outcome::Refused), 1);
    pair.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_an_unreachable_exporter() {
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let jobs = job("a", &app("a 1\n").await);
    let plan = topology(&jobs, &amp).plan::<InProcess>().unwrap();
    let receiver = InProcess.launch(&plan.receivers[0], plan.folder());
    let mut receiver = receiver.await.unwrap();
    let web = receiver.addresses.web;
    let sum = async |name: &str| Metrics::fetch(web).await.unwrap().sum(name);
    let waiting = async {
        while sum("promesh_receiver_exports_total{outcome=\"unsent\"}").await < 1.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, waiting).await.unwrap();
    assert!(sum("promesh_receiver_outbox_samples_waiting").await > 0.0);
    let exporter = InProcess.launch(&plan.exporters[0], plan.folder());
    let mut exporter = exporter.await.unwrap();
    receiver.stop(TIMEOUT).await.unwrap();
    assert!(!amp.backend().select("a").unwrap().is_empty());
    exporter.stop(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_failed_start_names_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let start = async |text: &str, address: &str| {
        std::fs::write(&config, text).unwrap();
        let addresses = Addresses::web(address.parse().unwrap());
        let spec = ServiceSpec::receiver("receiver", addresses, &config, "127.0.0.1:1");
        InProcess
            .launch(&spec, folder.path())
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let path = config.display().to_string();
    let error = start("global: {scrape_intervall: 1s}\n", "127.0.0.1:0").await;
    assert!(
        error.starts_with(&format!("{path}:1:10: unknown key \"scrape_intervall\"")),
        "{error}"
    );
    let unsupported = "scrape_configs:\n- {job_name: a, consul_sd_configs: [{}]}\n";
    let error = start(unsupported, "127.0.0.1:0").await;
    assert!(
        error.contains("consul_sd_configs is not supported, use http_sd_configs"),
        "{error}"
    );
    let incomplete = "global: {external_labels: {__replica__: a}}\n";
    let error = start(incomplete, "127.0.0.1:0").await;
    assert!(error.contains("__replica__ without cluster"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().map(|a| (a.to_string(), taken)).unwrap();
    let error = start("", &taken.0).await;
    assert!(
        error.starts_with(&format!(
            "--web.listen-address={}: Address already in use",
            taken.0
        )),
        "{error}"
    );
    std::fs::remove_file(&config).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_up_a_changed_configuration_and_keeps_it_while_the_file_is_invalid() {
    let (address, scrapes) = counting_app("a 1\n").await;
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let topology = topology("", &amp)
        .flags(Role::Receiver, ["--config.check-interval=100ms"])
        .flags(Role::Exporter, ["--config.check-interval=100ms"]);
    let mesh = topology.start(&InProcess).await.unwrap();
    let pair = Pair { amp, mesh };
    let file = pair.mesh.config_file().to_owned();
    let empty = std::fs::read_to_string(&file).unwrap();
    let services = [
        ("promesh_receiver", pair.mesh.receivers[0].addresses.web),
        ("promesh_exporter", pair.mesh.exporters[0].addresses.web),
    ];
    let until = async |name: &str, value: f64| {
        for (prefix, web) in services {
            let name = format!("{prefix}_{name}");
            let reached = async {
                while Metrics::fetch(web).await.unwrap().sum(&name) != value {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let reached = timeout(TIMEOUT, reached).await;
            assert!(reached.is_ok(), "{name}, expected {value}");
        }
    };
    let with_job = format!("{empty}scrape_configs:\n{}", job("app", &address));
    replace(&file, &with_job).unwrap();
    let scraped = async |times: usize| {
        let wanted = scrapes.load(Ordering::SeqCst) + times;
        let reached = async {
            while scrapes.load(Ordering::SeqCst) < wanted {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TIMEOUT, reached).await.unwrap();
    };
    scraped(1).await;
    until("config_last_reload_successful", 1.0).await;

    replace(&file, "global: [\n").unwrap();
    until("config_last_reload_successful", 0.0).await;
    scraped(2).await;

    replace(&file, &with_job).unwrap();
    until("config_last_reload_successful", 1.0).await;
    pair.mesh.stop().await.unwrap();
}
