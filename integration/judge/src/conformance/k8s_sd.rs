//! Kubernetes objects and their changes, compared with Prometheus's target groups.

mod cluster;

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use mesh_model::config::{
    Config,
    discovery::{DiscoveryConfig, KubernetesConfig, TargetGroup},
};
use receiver_svc::discovery::kubernetes::{Discover, discoverers};
use serde_json::{Value, json};

use super::{
    Report,
    cases::{document, labels, list, same, text},
};
use cluster::Cluster;

const FILE: &str = "k8s_sd.json";

type Groups = BTreeMap<String, TargetGroup>;

/// Objects, and their changes during a watch.
pub(super) fn timelines(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in list(&document(&suites.join(FILE))?["cases"]) {
        let config = config(case)?;
        report.case(text(&case["id"]), || {
            let before = list(&case["before_run"]).iter();
            let initial = list(&case["initial_objects"]).iter();
            let objects = initial.chain(before.map(|action| &action["object"]));
            let cluster = Cluster::new(objects.cloned().collect());
            let own_namespace = text(&case["own_namespace"]);
            let discoverers = discoverers(&cluster, &config, own_namespace, None);
            let mut groups = Groups::new();
            take(&discoverers, &mut groups);
            for action in list(&case["after_start"]) {
                cluster.act(action);
                take(&discoverers, &mut groups);
            }
            compare(groups, &case["expected_groups"])
        });
    }
    Ok(())
}

/// Objects as real API servers list them.
pub(super) fn lists(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in list(&document(&suites.join(FILE))?["api_list_cases"]["cases"]) {
        let config = config(&json!({ "role": case["role"] }))?;
        report.case(text(&case["id"]), || {
            let mut objects = list(&case["api_list"]).to_vec();
            // A list contains the kind of its items only once.
            let kind = kind(text(&case["role"]));
            objects
                .iter_mut()
                .for_each(|object| object["kind"] = json!(kind));
            let cluster = Cluster::new(objects);
            let mut groups = Groups::new();
            take(&discoverers(&cluster, &config, "", None), &mut groups);
            compare(groups, &case["prometheus_groups"])
        });
    }
    Ok(())
}

fn kind(role: &str) -> &'static str {
    match role {
        "node" => "Node",
        "service" => "Service",
        "pod" => "Pod",
        "endpoints" => "Endpoints",
        "endpointslice" => "EndpointSlice",
        _ => "Ingress",
    }
}

fn config(case: &Value) -> anyhow::Result<KubernetesConfig> {
    let keys = ["role", "namespaces", "attach_metadata"].into_iter();
    let given = keys.filter(|key| !case[*key].is_null());
    let mut mechanism: BTreeMap<_, _> = given.map(|key| (key, case[key].clone())).collect();
    if case["id"] == "TestPodDiscoveryWithNodeSelector" {
        // The test sets the selector in a way that the data does not contain.
        let selector = json!([{"role": "node", "label": "node-type=worker"}]);
        mechanism.insert("selectors", selector);
    }
    let file = json!({"scrape_configs": [{"job_name": "k", "kubernetes_sd_configs": [mechanism]}]});
    let config = Config::parse(&file.to_string(), Path::new(FILE), &|_| None)?;
    let discovery = config
        .scrape_configs
        .into_iter()
        .flat_map(|job| job.discovery);
    let mut kubernetes = discovery.filter_map(|mechanism| match mechanism {
        DiscoveryConfig::Kubernetes(config) => Some(*config),
        _ => None,
    });
    kubernetes.next().context("no kubernetes_sd_configs")
}

/// Applies the changes, as discovery does.
fn take(discoverers: &[Box<dyn Discover>], groups: &mut Groups) {
    let changed = discoverers.iter().filter_map(|all| all.update());
    for group in changed.flatten() {
        groups.insert(group.source.clone(), group);
    }
}

/// Compares the groups of all sources, including those without targets. The order of
/// targets in a Prometheus group is not defined.
fn compare(mut found: Groups, expected: &Value) -> Result<(), String> {
    found.values_mut().for_each(|group| group.targets.sort());
    let expected = expected.as_object().into_iter().flatten();
    let expected: Groups = expected
        .map(|(source, group)| {
            let mut targets: Vec<_> = list(&group["Targets"]).iter().map(labels).collect();
            targets.sort();
            let group = TargetGroup {
                targets,
                labels: labels(&group["Labels"]),
                source: source.clone(),
            };
            (source.clone(), group)
        })
        .collect();
    same(&found, &expected)
}
