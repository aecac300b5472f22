//! Prometheus and PrometheusAgent resources, and values of kube-prometheus-stack.

use std::collections::BTreeMap;

use mesh_monitors::{
    Kind, Mode, Monitor, NoMaterials, Settings, Shown, Verdict, generate, verdict,
};
use serde_json::{Map, Value, json};

use crate::{
    notes::Notes,
    part::Part,
    value::{at, entries, list, snake_case, text},
};

/// Names of keys that do not follow from `camelCase`.
const RENAMED: [(&str, &str); 7] = [
    ("insecureSkipVerify", "insecure_skip_verify"),
    ("retryOnRateLimit", "retry_on_http_429"),
    ("enableHTTP2", "enable_http2"),
    ("writeRelabelConfigs", "write_relabel_configs"),
    ("proxyUrl", "proxy_url"),
    ("sendNativeHistograms", "send_native_histograms"),
    ("messageVersion", "protobuf_message"),
];
/// Keys of `remoteWrite` that name Secrets.
const WITH_SECRETS: [&str; 5] = [
    "basicAuth",
    "authorization",
    "oauth2",
    "tlsConfig",
    "azureAd",
];

/// Translates a Prometheus or PrometheusAgent resource and the monitors beside it.
pub(crate) fn resource(object: &Value, monitors: &[Value], notes: &mut Notes) -> Part {
    let place = text(&object["kind"]).unwrap_or_default();
    let group = text(&object["apiVersion"]).unwrap_or_default();
    if !group.starts_with("monitoring.coreos.com/") {
        let text = "a fork of the Prometheus Operator; promesh reads resources of \
                    monitoring.coreos.com only";
        notes.add(format!("{place}: {group}"), text);
    }
    let mut part = Part::default();
    match Settings::read(object) {
        Ok(settings) => {
            if let Value::Object(global) = settings.global().to_json(Shown::WithSecrets) {
                part.global = global;
            }
            part.selects = match settings.mode {
                Mode::Server => Some(format!("{}/{}", settings.namespace, settings.name)),
                _ => Some(format!(
                    "prometheusagent/{}/{}",
                    settings.namespace, settings.name
                )),
            };
            for object in monitors {
                generated(object, &settings, &mut part, notes);
            }
        }
        Err(invalid) => notes.add(place.as_str(), invalid.to_string()),
    }
    spec(&object["spec"], &place, &mut part, notes);
    if monitors.is_empty() {
        monitors_note(&place, &mut part, notes);
    }
    part
}

/// Adds the jobs of one monitor.
fn generated(object: &Value, settings: &Settings, part: &mut Part, notes: &mut Notes) {
    let name = text(&object["kind"]).unwrap_or_default();
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
        return;
    };
    let monitor = Monitor::read(kind, object);
    let jobs = monitor.and_then(
        |monitor| match verdict(settings, &monitor, &BTreeMap::new()) {
            Verdict::Selected => generate(&monitor, settings, &NoMaterials).map(Some),
            Verdict::NotSelected => Ok(None),
        },
    );
    match jobs {
        Ok(None) => {
            let place = format!("{name} {}", object["metadata"]["name"]);
            let text = "left out: no selector matches, as far as the labels of its namespace \
                        are not needed";
            notes.add(place, text);
        }
        Ok(Some(jobs)) => part
            .jobs
            .extend(jobs.iter().map(|job| job.to_json(Shown::WithSecrets))),
        Err(invalid) => {
            let place = format!("{name} {}", object["metadata"]["name"]);
            notes.add(place, invalid.to_string());
        }
    }
}

/// Translates the values of kube-prometheus-stack.
pub(crate) fn chart(values: &Value, notes: &mut Notes) -> Part {
    let prometheus = &values["prometheus"];
    let own = &prometheus["prometheusSpec"];
    let mut part = Part::default();
    part.global.insert("scrape_interval".into(), json!("30s"));
    spec(own, "prometheusSpec", &mut part, notes);
    for job in list(&own["additionalScrapeConfigs"]) {
        part.jobs.push(job.clone());
    }
    part.role_arn = text(at(
        prometheus,
        &[
            "serviceAccount",
            "annotations",
            "eks.amazonaws.com/role-arn",
        ],
    ));
    monitors_note("prometheusSpec", &mut part, notes);
    for (key, _) in entries(prometheus) {
        if key.starts_with("additional") {
            let text = "ServiceMonitor, PodMonitor and rules of the chart stay in the cluster; \
                        role rules belong to the chart's rbac values";
            notes.add(format!("prometheus.{key}"), text);
        }
    }
    for section in [
        "alertmanager",
        "grafana",
        "kube-state-metrics",
        "prometheus-node-exporter",
    ] {
        if values[section].is_object() {
            let text = "not part of promesh: keep the chart with prometheus.enabled: false";
            notes.add(section, text);
        }
    }
    part
}

/// Translates the fields that both have.
fn spec(spec: &Value, place: &str, part: &mut Part, notes: &mut Notes) {
    for (key, name) in [
        ("scrapeInterval", "scrape_interval"),
        ("scrapeTimeout", "scrape_timeout"),
    ] {
        if let Some(value) = text(&spec[key]).filter(|value| !value.is_empty()) {
            part.global.insert(name.into(), json!(value));
        }
    }
    for (name, value) in entries(&spec["externalLabels"]) {
        part.external_label(name, value.clone());
    }
    for (index, entry) in list(&spec["remoteWrite"]).iter().enumerate() {
        let place = format!("{place}.remoteWrite[{index}]");
        let written = destination(entry, &place, notes);
        if written.contains_key("url") {
            part.remote_write.push(Value::Object(written));
        } else {
            notes.add(
                place,
                "has no url; add the entry to remote_write with your url",
            );
        }
    }
    let text = "the operator added the external labels prometheus and prometheus_replica; \
                promesh writes cluster and __replica__ of the HA pair (docs/ha.md)";
    notes.add("external labels: prometheus_replica", text);
    for (key, text) in [
        (
            "replicas",
            "replicas scraped everything each; the groups a and b are the HA pair",
        ),
        ("shards", "receivers share targets by themselves"),
        ("retention", "promesh stores nothing; queries go to AMP"),
        (
            "evaluationInterval",
            "rules run in AMP's ruler; see rule_files there",
        ),
        ("storageSpec", "only the outbox of receivers has a volume"),
    ] {
        if !spec[key].is_null() {
            notes.add(format!("{place}.{key}"), text);
        }
    }
    if spec["additionalScrapeConfigs"].is_object() {
        let text = "names a Secret; give its contents as another FILE";
        notes.add(format!("{place}.additionalScrapeConfigs"), text);
    }
}

/// Handles monitors without a Prometheus object: all of them are selected.
pub(crate) fn monitors_only(part: &mut Part, notes: &mut Notes) {
    monitors_note("monitoring.coreos.com", part, notes);
}

fn monitors_note(place: &str, part: &mut Part, notes: &mut Notes) {
    part.monitors = true;
    let text = "what is scraped stands in ServiceMonitor, PodMonitor, Probe and ScrapeConfig \
                resources: receivers read them with --monitors.cluster, which the chart values \
                enable (docs/monitors.md)";
    notes.add(format!("{place}: monitors"), text);
}

fn destination(entry: &Value, place: &str, notes: &mut Notes) -> Map<String, Value> {
    let mut written = Map::new();
    for (key, value) in entries(entry) {
        if WITH_SECRETS.contains(&key.as_str()) {
            let text = "names Secrets; mount them, and write the *_file keys of remote_write";
            notes.add(format!("{place}.{key}"), text);
            continue;
        }
        if key == "sigv4" && value["accessKey"].is_object() {
            let text = "accessKey and secretKey are Secrets; use IRSA or Pod Identity";
            notes.add(format!("{place}.sigv4"), text);
        }
        if let Some(value) = snake(value) {
            written.insert(renamed(key), value);
        }
    }
    written
}

fn renamed(key: &str) -> String {
    let known = RENAMED.iter().find(|(from, _)| *from == key);
    known.map_or_else(|| snake_case(key), |(_, to)| (*to).to_owned())
}

/// Writes all keys in snake_case. Header and label names stay. Leaves out references to
/// Secrets.
fn snake(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key("key") && map.contains_key("name") => None,
        Value::Object(map) => {
            let entries = map.iter().filter_map(|(key, value)| match key.as_str() {
                "headers" => Some((key.clone(), value.clone())),
                _ => Some((renamed(key), snake(value)?)),
            });
            Some(Value::Object(entries.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(snake).collect())),
        other => Some(other.clone()),
    }
}
