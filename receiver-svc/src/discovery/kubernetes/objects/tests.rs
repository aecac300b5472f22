use super::*;

#[test]
fn strips_fields_that_no_label_needs() {
    let mut pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"a": "b"}, "annotations": {"c": "d"},
            "managedFields": [{"manager": "kubelet", "operation": "Update"}],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": "other", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true},
            ],
        },
        "spec": {"nodeName": "node", "volumes": [{"name": "v"}], "containers": null},
        "status": {"conditions": [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": "False"},
        ]},
    }))
    .unwrap();
    pod.strip();
    let meta = pod.meta();
    assert_eq!(pod.key().to_string(), "n/p");
    assert_eq!(
        (meta.uid.as_deref(), meta.resource_version.as_ref()),
        (Some("u"), None)
    );
    assert_eq!(
        (&meta.managed_fields, &meta.creation_timestamp),
        (&None, &None)
    );
    assert!(meta.labels.is_some() && meta.annotations.is_some());
    assert_eq!(controller(meta).unwrap().name, "r");
    assert_eq!(meta.owner_references.as_ref().unwrap().len(), 1);
    assert_eq!(
        (pod.status.conditions.len(), pod.ready().as_str()),
        (1, "false")
    );
}

#[test]
fn strips_a_replica_set_to_its_controller() {
    let mut set: ReplicaSet = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "r", "namespace": "n", "labels": {"a": "b"}},
        "spec": {"template": {}},
    }))
    .unwrap();
    set.strip();
    assert_eq!(set.metadata.labels, None);
    assert!(ReplicaSet::metadata_api() && !Pod::metadata_api());
    assert_eq!(
        ReplicaSet::url_path(&(), Some("n")),
        "/apis/apps/v1/namespaces/n/replicasets"
    );
}

#[test]
fn reads_null_as_an_empty_list() {
    let slice: EndpointSlice =
        serde_json::from_str(r#"{"endpoints": null, "ports": null, "addressType": "IPv4"}"#)
            .unwrap();
    assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
}
