//! The jobs of `deploy/default-jobs.yml`, from discovery to the stored series.

use std::time::Duration;

use harness::{
    in_process::InProcess,
    topology::{Config, RemoteWrite, Topology},
};
use mesh_model::labels::Labels;
use serde_json::json;
use stand_ins::{
    amp::{Amp, AmpOptions},
    kube_api::KubeApi,
};
use tokio::time::{sleep, timeout};

use crate::{
    objects::{pod, service, slice},
    receiver::app,
};

const DEPLOYED: &str = include_str!("../../../../deploy/default-jobs.yml");

/// Returns these jobs of the file, as items of a YAML list.
fn deployed(jobs: &[&str]) -> String {
    let all = DEPLOYED.split("  - job_name: ").skip(1);
    let wanted = all.filter(|text| jobs.contains(&text.lines().next().unwrap()));
    let texts: Vec<_> = wanted.map(|text| format!("  - job_name: {text}")).collect();
    assert_eq!(texts.len(), jobs.len());
    texts.concat()
}

/// Starts a receiver with the deployed jobs against a stand-in for the API server. Waits until
/// the backend has stored a series of each job, and returns the labels by job.
async fn stored_labels(api: &KubeApi, jobs: &[&str]) -> Vec<Vec<Labels>> {
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let mechanism = format!("      - api_server: {}\n        role: ", api.url());
    let config = Config::default()
        .interval("1s")
        .external_labels("cluster: c, __replica__: a")
        .jobs(&deployed(jobs).replace("      - role: ", &mechanism))
        .remote_write(RemoteWrite::to(&amp));
    let mesh = Topology::new(config).exporters(1).receivers(1);
    let _mesh = mesh.start(&InProcess).await.unwrap();
    let all = timeout(Duration::from_secs(120), async {
        loop {
            let select = |job: &&str| amp.backend().select(&format!("a{{job=\"{job}\"}}"));
            let found: Vec<_> = jobs.iter().map(|job| select(job).unwrap()).collect();
            if found.iter().all(|series| !series.is_empty()) {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let all = all.await.expect("a series of each job is stored");
    let labels = all
        .into_iter()
        .map(|series| series.into_iter().map(|s| s.labels).collect());
    labels.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn annotated_pods_and_services_are_stored_with_their_labels() {
    let port = app().await;
    let api = KubeApi::start().await.unwrap();
    let annotations =
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": port.to_string()});
    // The annotation overrides the port of the container.
    let mut annotated = pod("annotated", 1);
    annotated["metadata"]["annotations"] = annotations.clone();
    api.apply(annotated);
    api.apply(pod("silent", port));
    let mut annotated = service(2);
    annotated["metadata"]["annotations"] = annotations;
    api.apply(annotated);
    api.apply(slice(&["silent"], 2));
    let stored = stored_labels(&api, &["kubernetes-pods", "kubernetes-services"]).await;
    let expected = |job: &str, more: &[(&str, &str)]| {
        let instance = format!("127.0.0.1:{port}");
        let own = [
            ("__name__", "a"),
            ("cluster", "c"),
            ("instance", &instance),
            ("job", job),
            ("namespace", "ns"),
            ("node", "node-1"),
        ];
        vec![Labels::from_iter(
            own.into_iter().chain(more.iter().copied()),
        )]
    };
    let of_pods = expected("kubernetes-pods", &[("app", "a"), ("pod", "annotated")]);
    let of_services = expected(
        "kubernetes-services",
        &[("service", "s"), ("pod", "silent")],
    );
    assert_eq!(stored, [of_pods, of_services]);
}
