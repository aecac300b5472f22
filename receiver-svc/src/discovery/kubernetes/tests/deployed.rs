//! The targets of the jobs in `deploy/default-jobs.yml`.

use std::path::Path;

use mesh_model::config::{Config, discovery::DiscoveryConfig};

use super::*;
use crate::scrape::{Populated, populate};

const DEPLOYED: &str = include_str!("../../../../../deploy/default-jobs.yml");

/// IP address of a pod.
fn ip(pod: &str) -> String {
    let sum: usize = pod.bytes().map(usize::from).sum();
    format!("10.0.{}.{}", pod.len(), sum % 256)
}

/// Addresses of these ports of pods, sorted.
fn addresses(ports: &[(&str, u16)]) -> Vec<String> {
    let addresses = ports
        .iter()
        .map(|(pod, port)| format!("{}:{port}", ip(pod)));
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort();
    addresses
}

/// A running pod. `annotations` are those of Prometheus, without their prefix.
fn pod(name: &str, annotations: Value, containers: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "annotations": prefixed(annotations)},
        "spec": {"containers": containers},
        "status": {"podIP": ip(name), "phase": "Running"},
    })
}

fn prefixed(annotations: Value) -> Value {
    let annotations = annotations.as_object().unwrap().clone().into_iter();
    annotations
        .map(|(name, value)| (format!("prometheus.io/{name}"), value))
        .collect()
}

fn container(ports: &[(u16, &str)]) -> Value {
    let ports = ports.iter();
    let ports: Vec<_> = ports
        .map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol}))
        .collect();
    json!({"name": "c", "image": "i", "ports": ports})
}

/// Applies a service with annotations and a slice with these pods.
fn serve(stores: &Stores, name: &str, annotations: Value, pods: &[&str], ports: Value) {
    stores.apply::<Service>(json!({
        "metadata": {"name": name, "namespace": "ns", "annotations": prefixed(annotations)},
    }));
    let endpoint = |pod: &&str| {
        json!({
            "addresses": [ip(pod)],
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod},
        })
    };
    stores.apply::<EndpointSlice>(json!({
        "metadata": {
            "name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports,
    }));
}

/// Addresses of the targets of a deployed job, without duplicates.
fn targets(stores: &Stores, job: &str) -> Vec<String> {
    let config = Config::parse(DEPLOYED, Path::new("p.yml"), &|_| Some("x".to_owned())).unwrap();
    let mut jobs = config.scrape_configs.into_iter();
    let job = jobs.find(|found| found.job_name == job).unwrap();
    let [DiscoveryConfig::Kubernetes(mechanism)] = &job.discovery[..] else {
        panic!("{:?}", job.discovery)
    };
    let discoverers = discoverers(stores, mechanism, "", None);
    let groups = discoverers[0].update().unwrap();
    let mut addresses = Vec::new();
    for group in &groups {
        for target in &group.targets {
            if let Populated::Active(target) = populate(&job, group, target).unwrap() {
                addresses.push(target.public.get("instance").unwrap().to_owned());
            }
        }
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

#[test]
fn scrapes_the_annotated_port_or_the_declared_tcp_ports_of_running_pods() {
    let stores = Stores::default();
    let scraped = || json!({"scrape": "true"});
    let mixed = json!([
        container(&[(1, "TCP"), (2, "UDP"), (3, "SCTP")]),
        container(&[])
    ]);
    stores.apply::<Pod>(pod("declared", scraped(), mixed.clone()));
    let at_port = json!({"scrape": "true", "port": "9"});
    stores.apply::<Pod>(pod("annotated", at_port.clone(), mixed.clone()));
    let udp = json!([container(&[(2, "UDP")])]);
    stores.apply::<Pod>(pod("udp", scraped(), udp.clone()));
    stores.apply::<Pod>(pod("udp-annotated", at_port, udp));
    stores.apply::<Pod>(pod("portless", scraped(), json!([container(&[])])));
    let named = json!({"scrape": "true", "port": "web"});
    stores.apply::<Pod>(pod("named", named, json!([container(&[])])));
    stores.apply::<Pod>(pod("other", json!({}), mixed.clone()));
    let mut init = pod("init", scraped(), json!([container(&[])]));
    init["spec"]["initContainers"] = json!([container(&[(4, "TCP")])]);
    stores.apply::<Pod>(init);
    for phase in ["Succeeded", "Failed", "Pending"] {
        let mut ended = pod(phase, scraped(), mixed.clone());
        ended["status"]["phase"] = phase.into();
        stores.apply::<Pod>(ended);
    }
    let expected = addresses(&[("annotated", 9), ("declared", 1), ("udp-annotated", 9)]);
    assert_eq!(targets(&stores, "kubernetes-pods"), expected);
}

#[test]
fn scrapes_a_pod_once_that_is_annotated_and_behind_an_annotated_service() {
    let stores = Stores::default();
    let scraped = || json!({"scrape": "true"});
    let web = || json!([container(&[(1, "TCP")])]);
    stores.apply::<Pod>(pod("both", scraped(), web()));
    let at_port = json!({"scrape": "true", "port": "9"});
    stores.apply::<Pod>(pod("both-at-port", at_port, json!([container(&[])])));
    stores.apply::<Pod>(pod("undeclared", scraped(), json!([container(&[])])));
    stores.apply::<Pod>(pod("behind", json!({}), web()));
    let pods = ["both", "both-at-port", "undeclared", "behind"];
    serve(
        &stores,
        "s",
        scraped(),
        &pods,
        json!([{"port": 1, "protocol": "TCP"}]),
    );
    let of_pods = addresses(&[("both-at-port", 9), ("both", 1)]);
    assert_eq!(targets(&stores, "kubernetes-pods"), of_pods);
    let of_services = addresses(&[("behind", 1), ("undeclared", 1)]);
    assert_eq!(targets(&stores, "kubernetes-services"), of_services);
}

#[test]
fn scrapes_the_annotated_port_or_the_tcp_ports_of_a_service() {
    let stores = Stores::default();
    let web = || json!([container(&[(1, "TCP")])]);
    stores.apply::<Pod>(pod("up", json!({}), web()));
    let mut ended = pod("ended", json!({}), web());
    ended["status"]["phase"] = "Succeeded".into();
    stores.apply::<Pod>(ended);
    let mut init = pod("init", json!({}), json!([container(&[])]));
    init["spec"]["initContainers"] = web();
    stores.apply::<Pod>(init);
    let pods = ["up", "ended", "init"];
    let ports = json!([{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "UDP"}]);
    serve(&stores, "s", json!({"scrape": "true"}), &pods, ports);
    let dns = json!([{"port": 53, "protocol": "UDP"}]);
    let at_port = json!({"scrape": "true", "port": "9"});
    serve(&stores, "dns", at_port, &["up"], dns);
    assert_eq!(
        targets(&stores, "kubernetes-services"),
        addresses(&[("up", 1), ("up", 9)])
    );
}
