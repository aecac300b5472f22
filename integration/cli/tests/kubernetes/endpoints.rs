//! Resolution of exporters behind a Kubernetes service.

use std::{net::SocketAddr, time::Duration};

use harness::{
    in_process::InProcess,
    launcher::Launcher,
    metrics::Metrics,
    process::Processes,
    spec::{Addresses, ServiceSpec},
    topology::{Config, KeysIn, RemoteWrite},
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
        let metrics = Metrics::fetch(web).await.unwrap();
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
    let job = format!(
        "- job_name: a\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        app().await
    );
    let config_file = folder.path().join("prometheus.yml");
    Config::default()
        .interval("1s")
        .jobs(&job)
        .remote_write(RemoteWrite::to(&amp))
        .write(&config_file, KeysIn::File)
        .unwrap();
    let admin = Addresses::web(([127, 0, 0, 1], 0).into());
    let exporter = async |grpc: SocketAddr| {
        let addresses = Addresses {
            grpc: Some(grpc),
            ..admin
        };
        let spec = ServiceSpec::exporter("exporter", addresses, &config_file);
        InProcess.launch(&spec, folder.path()).await.unwrap()
    };
    let first = exporter(([127, 0, 0, 1], 0).into()).await;
    let port = first.addresses.grpc().unwrap().port();
    let second = exporter(([127, 0, 0, 2], port).into()).await;

    let mut api = KubeApi::start().await.unwrap();
    api.apply(exporters(&["127.0.0.1"]));
    let kubeconfig = api.write_kubeconfig(folder.path()).unwrap();
    let endpoints = format!("k8s:///ns/exporter:{port}");
    let receiver = ServiceSpec::receiver("receiver", admin, &config_file, &endpoints)
        .flag("--shutdown.timeout=0")
        .env("KUBECONFIG", &kubeconfig.display().to_string());
    let launcher = Processes::new(env!("CARGO_BIN_EXE_integration").as_ref());
    let _receiver = launcher.launch(&receiver, folder.path()).await.unwrap();
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
