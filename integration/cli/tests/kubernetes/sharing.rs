//! Watches shared by jobs. A watch ends when no job needs it.

use stand_ins::kube_api::KubeApi;

use crate::{
    objects::{endpoints, node, pod, pod_on, service, slice},
    receiver::{NONE, Receiver, eventually, job},
};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_share_equal_watches_until_the_last_one_ends() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod("p", 1));
    let all = |api| {
        [
            job("pods", "pod", api, ""),
            job("pods-too", "pod", api, ", attach_metadata: {node: true}"),
            job("endpoints", "endpoints", api, ""),
            job("slices", "endpointslice", api, ""),
            job(
                "some",
                "pod",
                api,
                ", selectors: [{role: pod, label: app=a}]",
            ),
        ]
    };
    let receiver = Receiver::start(&all(&api), &[]).await;
    for job in ["pods", "some"] {
        receiver.until(job, "instance", ["127.0.0.1:1"]).await;
    }
    for (resource, watches) in [
        ("pods", 2),
        ("services", 1),
        ("endpoints", 1),
        ("endpointslices", 1),
        ("nodes", 1),
    ] {
        let open = format!("{resource}: {watches} watches");
        eventually(&open, || api.open_watches(resource) == watches).await;
        assert_eq!(api.list_count(resource), watches, "{resource}");
    }
    assert_eq!(
        receiver
            .metric("promesh_receiver_discovery_kubernetes_watches")
            .await,
        6.0
    );

    // A changed job that needs the same objects reuses their watch.
    let attached = ", attach_metadata: {namespace: true}";
    receiver.reload(&[job("pods", "pod", &api, attached)]).await;
    eventually("one watch of pods", || api.open_watches("pods") == 1).await;
    eventually("no watch of services", || api.open_watches("services") == 0).await;
    receiver.until("pods", "instance", ["127.0.0.1:1"]).await;
    assert_eq!(
        (api.list_count("pods"), api.list_count("namespaces")),
        (2, 1)
    );
    receiver.reload(&[]).await;
    eventually("no watches", || {
        api.open_watches("pods") + api.open_watches("namespaces") == 0
    })
    .await;
    assert_eq!(
        receiver
            .metric("promesh_receiver_discovery_kubernetes_objects")
            .await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_applies_selectors_and_namespaces() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod("ours", 1));
    let mut other = pod("theirs", 2);
    other["metadata"]["namespace"] = "other".into();
    api.apply(other);
    let mut unlabeled = pod("unlabeled", 3);
    unlabeled["metadata"]["labels"] = serde_json::json!({});
    api.apply(unlabeled);
    let jobs = [
        job("in-ns", "pod", &api, ", namespaces: {names: [ns]}"),
        job(
            "labeled",
            "pod",
            &api,
            ", selectors: [{role: pod, label: 'app=a', field: 'metadata.namespace!=other'}]",
        ),
    ];
    let receiver = Receiver::start(&jobs, &[]).await;
    receiver
        .until("in-ns", "instance", &["127.0.0.1:1", "127.0.0.1:3"])
        .await;
    receiver.until("labeled", "instance", ["127.0.0.1:1"]).await;
    // An object that no longer matches the selector is removed.
    let mut changed = pod("ours", 1);
    changed["metadata"]["labels"] = serde_json::json!({"app": "b"});
    api.apply(changed);
    receiver.until("labeled", "instance", NONE).await;
    let requests = api.requests();
    assert!(
        requests
            .iter()
            .any(|path| path.starts_with("/api/v1/namespaces/ns/pods?"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_local_receiver_has_only_targets_of_its_node() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod_on("node-1", "here", 1));
    api.apply(pod_on("node-2", "there", 2));
    api.apply(service(3));
    api.apply(endpoints(&["here"], 1));
    let mut both = slice(&["here", "there"], 1);
    both["endpoints"][1]["nodeName"] = "node-2".into();
    both["endpoints"][1]["addresses"] = serde_json::json!(["127.0.0.2"]);
    api.apply(both);
    for name in ["node-1", "node-2"] {
        let mut named = node(name);
        named["status"]["addresses"][0]["address"] = name.into();
        api.apply(named);
    }
    let jobs = [
        job("pods", "pod", &api, ""),
        job("nodes", "node", &api, ""),
        job("endpoints", "endpoints", &api, ""),
        job("slices", "endpointslice", &api, ""),
        job("services", "service", &api, ""),
    ];
    let receiver = Receiver::start(&jobs, &["--discovery.node-local=node-1"]).await;
    for job in ["pods", "endpoints", "slices"] {
        receiver.until(job, "instance", ["127.0.0.1:1"]).await;
    }
    receiver.until("nodes", "instance", ["node-1"]).await;
    assert!(receiver.targets("services").await.is_empty());
    let requests = api.requests();
    let has_field_selector = |resource: &str| {
        let path = format!("/api/v1/{resource}?");
        let mut lists = requests.iter().filter(|request| request.starts_with(&path));
        lists.clone().count() > 0 && lists.all(|request| request.contains("fieldSelector="))
    };
    assert!(
        has_field_selector("pods") && has_field_selector("nodes"),
        "{requests:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_the_cluster_and_user_of_a_kubeconfig() {
    let api = KubeApi::start().await.unwrap();
    api.apply(pod("p", 1));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(folder.path()).unwrap();
    let job = format!(
        "- job_name: pods\n  kubernetes_sd_configs:\n  - {{role: pod, kubeconfig_file: '{}'}}\n",
        kubeconfig.display()
    );
    let receiver = Receiver::start(&[job], &[]).await;
    receiver.until("pods", "instance", ["127.0.0.1:1"]).await;
    let authorizations: Vec<_> = api.authorizations().into_iter().collect();
    assert_eq!(authorizations, ["Bearer secret"]);
}
