//! A receiver under test and its targets.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use harness::{
    in_process::{InProcess, Running},
    metrics::Metrics,
    spec::Role,
    topology::{Config, Mesh, Topology},
};
use mesh_net::http_client::HttpClient;
use serde_json::Value;
use stand_ins::kube_api::KubeApi;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

/// No targets.
pub(crate) const NONE: [&str; 0] = [];
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Receiver {
    mesh: Mesh<Running>,
}

/// A scrape config with a Kubernetes role. `more` holds further settings of the mechanism.
pub(crate) fn job(name: &str, role: &str, api: &KubeApi, more: &str) -> String {
    format!(
        "- job_name: {name}\n  kubernetes_sd_configs:\n  - {{role: {role}, api_server: '{}'{more}}}\n",
        api.url()
    )
}

/// Starts an app that exposes one metric. Returns its port.
pub(crate) async fn app() -> u16 {
    let answer = || async { ([("content-type", "text/plain; version=0.0.4")], "a 1\n") };
    let app = axum::Router::new().route("/metrics", axum::routing::get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

impl Receiver {
    /// Starts a receiver with these jobs and without a reachable exporter.
    pub(crate) async fn start(jobs: &[String], flags: &[&str]) -> Self {
        let own = ["--discovery.update-interval=0", "--shutdown.timeout=0"];
        let config = Config::default().interval("1s").jobs(&jobs.concat());
        let mesh = Topology::new(config)
            .receivers(1)
            .send_to("127.0.0.1:1")
            .flags(Role::Receiver, own)
            .flags(Role::Receiver, flags.iter().copied())
            .start(&InProcess)
            .await
            .unwrap();
        Self { mesh }
    }

    fn web(&self) -> SocketAddr {
        self.mesh.receivers[0].addresses.web
    }

    /// A page as JSON.
    pub(crate) async fn page(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.web());
        let client = HttpClient::new(&Default::default()).unwrap();
        let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
        let response = client.request(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        serde_json::from_slice(&body.unwrap().to_bytes()).unwrap()
    }

    /// Targets of a job, from the status page.
    pub(crate) async fn targets(&self, job: &str) -> Vec<Value> {
        let page = self.page("/targets").await;
        let jobs = page["jobs"].as_array().unwrap();
        let found = jobs.iter().find(|found| found["job"] == job);
        found.map_or(Vec::new(), |found| {
            found["targets"].as_array().unwrap().clone()
        })
    }

    /// Waits until the values of a label over a job's targets equal `expected`.
    pub(crate) async fn until(
        &self,
        job: &str,
        label: &str,
        expected: impl IntoIterator<Item = impl ToString>,
    ) {
        let expected: BTreeSet<_> = expected.into_iter().map(|v| v.to_string()).collect();
        let mut found = BTreeSet::new();
        let seen = timeout(LIMIT, async {
            loop {
                found = self.values(job, label).await;
                if found == expected {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let in_time = seen.await.is_ok();
        assert!(in_time, "{job}: {label} {found:?}, expected {expected:?}");
    }

    /// Values of a label over a job's targets.
    pub(crate) async fn values(&self, job: &str, label: &str) -> BTreeSet<String> {
        let targets = self.targets(job).await;
        let values = targets
            .iter()
            .filter_map(|target| target["labels"][label].as_str());
        values.map(str::to_owned).collect()
    }

    /// Waits until a metric reaches `value`.
    pub(crate) async fn wait_for_metric(&self, name: &str, value: f64) {
        let web = self.web();
        let reached = async {
            while Metrics::fetch(web).await.unwrap().sum(name) < value {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(LIMIT, reached).await.is_ok();
        assert!(in_time, "{name} >= {value}");
    }

    /// Current value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let web = self.web();
        Metrics::fetch(web).await.unwrap().sum(name)
    }

    /// Replaces all jobs.
    pub(crate) async fn reload(&self, jobs: &[String]) {
        let config = self.mesh.config_file();
        std::fs::write(config, format!("scrape_configs:\n{}", jobs.concat())).unwrap();
        let url = format!("http://{}/-/reload", self.web());
        let client = HttpClient::new(&Default::default()).unwrap();
        let request = http::Request::post(url).body(bytes::Bytes::new()).unwrap();
        assert!(client.request(request).await.unwrap().status().is_success());
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let in_time = timeout(LIMIT, async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(in_time.await.is_ok(), "{what}");
}
