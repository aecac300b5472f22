//! Builders of Kubernetes objects.

use serde_json::{Value, json};

pub(crate) fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"zone": "z1"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
        },
    })
}

/// A pod on `node-1` with one port.
pub(crate) fn pod(name: &str, port: u16) -> Value {
    pod_on("node-1", name, port)
}

pub(crate) fn pod_on(node: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "labels": {"app": "a"},
            "managedFields": [{"manager": "kubelet", "operation": "Update"}],
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i", "ports": [
                {"name": "web", "containerPort": port, "protocol": "TCP"},
            ]}],
        },
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    })
}

pub(crate) fn service(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "ns", "labels": {"team": "t"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [
            {"name": "web", "port": port, "protocol": "TCP"},
        ]},
    })
}

/// `Endpoints` of the service with these pods.
pub(crate) fn endpoints(pods: &[&str], port: u16) -> Value {
    let addresses: Vec<_> = pods
        .iter()
        .map(|pod| {
            json!({
                "ip": "127.0.0.1", "nodeName": "node-1",
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod},
            })
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "s", "namespace": "ns"},
        "subsets": [{"addresses": addresses, "ports": [
            {"name": "web", "port": port, "protocol": "TCP"},
        ]}],
    })
}

/// `EndpointSlice` of the service with these pods.
pub(crate) fn slice(pods: &[&str], port: u16) -> Value {
    let endpoints: Vec<_> = pods
        .iter()
        .map(|pod| {
            json!({
                "addresses": ["127.0.0.1"], "nodeName": "node-1", "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "s-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"},
        },
        "endpoints": endpoints,
        "ports": [{"name": "web", "port": port, "protocol": "TCP"}],
    })
}

pub(crate) fn ingress(host: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "ns"},
        "spec": {"rules": [{"host": host, "http": {"paths": [{"path": "/metrics"}]}}]},
    })
}

pub(crate) fn namespace(team: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "ns", "labels": {"team": team}},
        "spec": {"finalizers": ["kubernetes"]},
    })
}

/// An object whose controller is `by` (kind and name).
pub(crate) fn controlled(kind: &str, name: &str, by: (&str, &str)) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "ownerReferences": [owner(by)]},
        "spec": {"template": {}},
    })
}

/// Owner reference to a controller (kind and name).
pub(crate) fn owner((kind, name): (&str, &str)) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true})
}
