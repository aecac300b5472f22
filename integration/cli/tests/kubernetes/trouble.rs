//! Failures of the API server: errors, compaction, forbidden resources and restarts. The receiver
//! must not lose targets.

use clap::Parser;
use receiver_svc::check::{CheckArgs, check};
use stand_ins::kube_api::{Gone, KubeApi};

use crate::{
    objects::{endpoints, ingress, node, pod, service, slice},
    receiver::{NONE, Receiver, app, eventually, job},
};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_targets_while_the_api_server_is_down_and_then_catches_up() {
    let port = app().await;
    let mut api = KubeApi::start().await.unwrap();
    let address = format!("127.0.0.1:{port}");
    api.apply(node("node-1"));
    // A second port is a second target of the pod.
    let mut first = pod("first", port);
    first["spec"]["initContainers"] =
        serde_json::json!([{"name": "sidecar", "ports": [{"containerPort": 9}]}]);
    api.apply(first);
    api.apply(service(port));
    api.apply(endpoints(&["first"], port));
    api.apply(slice(&["first"], port));
    api.apply(ingress(&address));
    let jobs = [
        "node",
        "service",
        "pod",
        "endpoints",
        "endpointslice",
        "ingress",
    ]
    .map(|role| job(role, role, &api, ""));
    let receiver = Receiver::start(&jobs, &[]).await;
    let in_front = format!("s.ns.svc:{port}");
    receiver.until("node", "instance", ["node-1"]).await;
    receiver.until("service", "instance", [&in_front]).await;
    receiver.until("ingress", "instance", [&address]).await;
    for job in ["pod", "endpoints", "endpointslice"] {
        receiver
            .until(job, "instance", [&address, "127.0.0.1:9"])
            .await;
    }
    receiver
        .wait_for_metric("promesh_receiver_scrapes_total", 1.0)
        .await;

    for compaction in [None, Some(Gone::Event), Some(Gone::Status)] {
        api.stop().await;
        let failures = "promesh_receiver_discovery_kubernetes_failures_total{resource=\"pods\",reason=\"connection\"}";
        let before = receiver.metric(failures).await;
        api.delete("pods", "ns", "first");
        api.apply(pod("second", port));
        api.apply(endpoints(&["second"], port));
        api.apply(slice(&["second"], port));
        api.delete("nodes", "", "node-1");
        if let Some(gone) = compaction {
            api.compact(gone);
        }
        receiver.wait_for_metric(failures, before + 1.0).await;
        receiver.until("node", "instance", ["node-1"]).await;
        for job in ["pod", "endpoints", "endpointslice"] {
            receiver
                .until(job, "instance", [&address, "127.0.0.1:9"])
                .await;
        }
        api.restart().await.unwrap();
        receiver.until("node", "instance", NONE).await;
        for job in ["pod", "endpoints", "endpointslice"] {
            receiver.until(job, "instance", [&address]).await;
        }
        assert_eq!(api.list_count("pods") > 1, compaction.is_some());
        // Restores the objects for the next round.
        api.apply(node("node-1"));
        let mut first = pod("first", port);
        first["spec"]["initContainers"] =
            serde_json::json!([{"name": "sidecar", "ports": [{"containerPort": 9}]}]);
        api.apply(first);
        api.delete("pods", "ns", "second");
        api.apply(endpoints(&["first"], port));
        api.apply(slice(&["first"], port));
        for job in ["pod", "endpoints", "endpointslice"] {
            receiver
                .until(job, "instance", [&address, "127.0.0.1:9"])
                .await;
        }
        receiver.until("node", "instance", ["node-1"]).await;
    }
    let up = receiver.targets("pod").await;
    let up = up
        .iter()
        .filter(|target| target["last_scrape"]["samples"] == 1);
    assert_eq!(up.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_continues_after_errors_and_lost_connections() {
    let api = KubeApi::start().await.unwrap();
    api.fail_next(&[500, 429, 503, 401]);
    // More than one page.
    for i in 0..600 {
        api.apply(pod(&format!("p-{i}"), 1000 + i));
    }
    let receiver = Receiver::start(&[job("pods", "pod", &api, "")], &[]).await;
    let targets = |first: u16| {
        let ports = (1001..1600).chain([first]);
        ports.map(|port| format!("127.0.0.1:{port}"))
    };
    receiver.until("pods", "instance", targets(1000)).await;
    for first in 2..5 {
        eventually("a watch", || api.open_watches("pods") == 1).await;
        match first {
            2 => api.drop_connections(),
            3 => {
                api.fail_next(&[500, 410]);
                api.drop_connections();
            }
            _ => {
                api.compact(Gone::Event);
                api.drop_connections();
            }
        }
        api.apply(pod("p-0", first));
        receiver.until("pods", "instance", targets(first)).await;
    }
    let objects = "promesh_receiver_discovery_kubernetes_objects{resource=\"pods\"}";
    assert_eq!(receiver.metric(objects).await, 600.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_forbidden_resource_while_other_roles_continue() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod("p", 1));
    api.apply(service(2));
    api.apply(endpoints(&["p"], 1));
    api.forbid("services");
    let jobs = [
        job("pods", "pod", &api, ""),
        job("services", "service", &api, ""),
        job("endpoints", "endpoints", &api, ""),
    ];
    let receiver = Receiver::start(&jobs, &[]).await;
    receiver.until("pods", "instance", ["127.0.0.1:1"]).await;
    let forbidden = "promesh_receiver_discovery_kubernetes_failures_total{resource=\"services\",reason=\"forbidden\"}";
    receiver.wait_for_metric(forbidden, 2.0).await;
    // Without the labels of the service, the endpoints would be different targets.
    assert!(receiver.targets("endpoints").await.is_empty());
    api.allow("services");
    receiver.until("services", "instance", ["s.ns.svc:2"]).await;
    receiver
        .until("endpoints", "instance", ["127.0.0.1:1"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_lists_targets_and_reports_forbidden_resources() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod("p", 1));
    api.forbid("services");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    let jobs = [
        job("pods", "pod", &api, ""),
        job("services", "service", &api, ""),
    ];
    std::fs::write(&file, format!("scrape_configs:\n{}", jobs.concat())).unwrap();
    let arguments = [
        "check",
        "--targets",
        "--discovery.timeout=120",
        file.to_str().unwrap(),
    ];
    let arguments = CheckArgs::try_parse_from(arguments).unwrap();
    let report = check(&file, &arguments).await;
    let text = report.to_string();
    assert!(!report.is_success());
    let forbidden = format!(
        "FAILED: {}:5:3: job \"services\": services in *: status 403: services is forbidden",
        file.display()
    );
    assert!(text.contains(&forbidden), "{text}");
    assert!(text.contains("job \"pods\": 1 scraped"), "{text}");
}
