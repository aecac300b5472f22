//! Watches of attached metadata. The receiver requests only the metadata of these objects.

use serde_json::json;
use stand_ins::kube_api::KubeApi;

use crate::{
    objects::{controlled, namespace, node, owner, pod},
    receiver::{Receiver, job},
};

/// A pod with a controller.
fn pod_of(name: &str, port: u16, controller: (&str, &str)) -> serde_json::Value {
    let mut pod = pod(name, port);
    pod["metadata"]["ownerReferences"] = json!([owner(controller)]);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_only_metadata_of_attached_objects() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod_of("web", 1, ("ReplicaSet", "set")));
    api.apply(pod_of("nightly", 2, ("Job", "job")));
    api.apply(node("node-1"));
    api.apply(namespace("one"));
    api.apply(controlled(
        "ReplicaSet",
        "set",
        ("Deployment", "deployment"),
    ));
    api.apply(controlled("Job", "job", ("CronJob", "cron")));
    let relabeling = [
        ("pod_deployment_name", "deployment"),
        ("pod_job_name", "job_name"),
        ("pod_cronjob_name", "cron_job"),
        ("namespace_label_team", "team"),
        ("node_label_zone", "zone"),
    ]
    .map(|(meta, label)| {
        format!("  - {{source_labels: [__meta_kubernetes_{meta}], target_label: {label}}}\n")
    });
    let attached = ["node", "namespace", "deployment", "job", "cronjob"];
    let attached = attached.map(|what| format!("{what}: true")).join(", ");
    let attached = format!(", attach_metadata: {{{attached}}}");
    let pods = job("pods", "pod", &api, &attached);
    let pods = format!("{pods}  relabel_configs:\n{}", relabeling.concat());
    let receiver = Receiver::start(&[pods], &[]).await;
    for (label, value) in [
        ("deployment", "deployment"),
        ("job_name", "job"),
        ("cron_job", "cron"),
        ("team", "one"),
        ("zone", "z1"),
    ] {
        receiver.until("pods", label, [value]).await;
    }
    api.apply(namespace("two"));
    receiver.until("pods", "team", ["two"]).await;
    let metadata_only: Vec<_> = api.metadata_only().into_iter().collect();
    assert_eq!(metadata_only, ["jobs", "namespaces", "replicasets"]);
}
