//! Writes prometheus.yml and chart values.

use serde_json::{Map, Value, json};

use crate::part::Part;

/// Default jobs of the chart. Off, since the translated file has its own.
const JOBS: [&str; 8] = [
    "kubelet",
    "cadvisor",
    "apiserver",
    "kubeStateMetrics",
    "nodeExporter",
    "pods",
    "services",
    "promesh",
];

/// Writes the sections in the usual order. `waiting` are destinations without a URL yet,
/// which become comments.
pub(crate) fn prometheus(part: &Part, waiting: &[Value]) -> String {
    let mut out = String::new();
    if !part.global.is_empty() {
        out += &yaml(&json!({ "global": part.global }));
    }
    if !part.sections.is_empty() {
        out += &yaml(&json!(part.sections));
    }
    out += &yaml(&json!({ "scrape_configs": part.jobs }));
    if !part.remote_write.is_empty() {
        out += &yaml(&json!({ "remote_write": part.remote_write }));
    }
    if !waiting.is_empty() {
        out += "# The url of these destinations is a placeholder. Write it, and remove the #.\n";
        let text = yaml(&json!({ "remote_write": waiting }));
        text.lines().for_each(|line| out += &format!("# {line}\n"));
    }
    out
}

/// Writes values of the chart. Its file needs the labels of the HA pair.
pub(crate) fn chart(part: &Part, waiting: &[Value]) -> String {
    let mut part = part.clone();
    let labels = part.global.get("external_labels");
    let cluster = labels.and_then(|labels| labels["cluster"].as_str());
    let cluster = cluster.unwrap_or_default().to_owned();
    part.external_label("cluster", json!("${CLUSTER}"));
    part.external_label("__replica__", json!("${REPLICA}"));
    let jobs: Map<String, Value> = JOBS
        .iter()
        .map(|name| ((*name).to_owned(), json!({"enabled": false})))
        .collect();
    let mut values = json!({
        "cluster": cluster,
        "config": {"prometheus": prometheus(&part, waiting)},
        "jobs": jobs,
    });
    if part.monitors {
        let selects = part.selects.as_deref().unwrap_or_default();
        values["monitors"] = json!({"enabled": true, "prometheus": selects});
    }
    if let Some(role) = &part.role_arn {
        values["exporters"] = json!({"serviceAccount": {"roleArn": role}});
    }
    let head = "# Values of the promesh chart. `cluster` is required and must be unique.\n";
    head.to_owned() + &yaml(&values)
}

fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value);
    // A JSON value has only texts as keys, so that it can always be written.
    text.unwrap_or_else(|error| format!("# {error}\n"))
}
