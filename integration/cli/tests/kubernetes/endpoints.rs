//! Resolution of exporters behind a Kubernetes service.

use std::{net::SocketAddr, time::Duration};

use harness::{
    child::{Metrics, Service},
    in_process,
};
use serde_json::Value;
use stand_ins::{
    amp::{Amp, AmpOptions},
    kube_api::{Gone, KubeApi, endpoint_slice},
};
use tokio::time::{sleep, timeout};

use crate::receiver::{app, eventually};

/// `EndpointSlice` of the exporters' service with these ready addresses.
fn exporters(ready: &[&str]) -> Value {
    endpoint_slice("ns", "exporter", ready)
}

/// Waits until an exporter has received another export.
async fn wait_for_export(web: SocketAddr) {
    let exports = async || {
        let metrics = Metrics::fetch(&web.to_string()).await.unwrap();
        metrics.sum("promesh_exporter_exports_total")
    };
    let before = exports().await;
    let more = timeout(Duration::from_secs(120), async {
        while exports().await <= before {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(more.await.is_ok(), "the exporter received no export");
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_exporters_through_restarts_of_the_api_server() {
    let folder = tempfile::tempdir().unwrap();
    let amp = Amp::start(AmpOptions::default()).await.unwrap();
    let jobs = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - job_name: a\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        app().await
    );
    let config = in_process::write_config(folder.path(), &jobs, &amp).unwrap();
    let config = format!("--config.file={}", config.display());
    let exporter = async |address: String| {
        let flags = [
            config.clone(),
            format!("--grpc.listen-address={address}"),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        in_process::exporter(&flags).await.unwrap()
    };
    let first = exporter("127.0.0.1:0".to_owned()).await;
    let port = first.addresses.grpc.port();
    let second = exporter(format!("127.0.0.2:{port}")).await;

    let mut api = KubeApi::start().await.unwrap();
    api.apply(exporters(&["127.0.0.1"]));
    let kubeconfig = api.write_kubeconfig(folder.path()).unwrap();
    let arguments = [
        "receiver".to_owned(),
        config.clone(),
        "--web.listen-address=127.0.0.1:0".to_owned(),
        format!("--exporter.endpoints=k8s:///ns/exporter:{port}"),
        "--shutdown.timeout=0".to_owned(),
    ];
    let program = env!("CARGO_BIN_EXE_integration");
    let kubeconfig = kubeconfig.display().to_string();
    let environment = [("KUBECONFIG", kubeconfig.as_str())];
    let receiver = Service::start(
        program.as_ref(),
        "receiver",
        &arguments,
        &environment,
        folder.path(),
    );
    let _receiver = receiver.await.unwrap();
    wait_for_export(first.addresses.web).await;

    for (gone, ready, next) in [
        (Gone::Event, "127.0.0.2", &second),
        (Gone::Status, "127.0.0.1", &first),
    ] {
        let lists = api.list_count("endpointslices");
        api.stop().await;
        wait_for_export(
            if ready == "127.0.0.2" {
                &first
            } else {
                &second
            }
            .addresses
            .web,
        )
        .await;
        api.apply(exporters(&[ready]));
        api.compact(gone);
        api.restart().await.unwrap();
        eventually("a new list", || api.list_count("endpointslices") > lists).await;
        wait_for_export(next.addresses.web).await;
    }
}
