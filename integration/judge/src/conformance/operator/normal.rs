//! Differences between the Operator and promesh that mean nothing.
//!
//! - The Operator mounts certificates as files; promesh inlines them.
//! - The Operator writes rules that let several servers share targets; promesh does not.
//! - `action: replace` is the default.

use serde_json::{Value, json};

use crate::conformance::cases;

/// Folder in which the Operator mounts certificates.
const CERTIFICATES: &str = "/etc/prometheus/certs/";
/// Labels of the rules that share targets. A user's rule that sets `__tmp_hash` stays.
const SHARDING: [&str; 2] = ["__tmp_disable_sharding", "__tmp_current_shard"];
const HASH: &str = "__tmp_hash";
const TOPOLOGY: &str = "__tmp_topology";

/// Rewrites the jobs that the Operator generates.
pub(super) fn expected(case: &Value) -> Vec<Value> {
    let jobs = cases::list(&case["expected_scrape_configs"]).iter();
    jobs.map(|job| {
        let mut job = job.clone();
        inline_certificates(&mut job, case);
        remove_sharding(&mut job, case);
        common(job, case)
    })
    .collect()
}

/// Rewrites the jobs that promesh generates.
pub(super) fn found(jobs: Vec<Value>, case: &Value) -> Vec<Value> {
    jobs.into_iter().map(|job| common(job, case)).collect()
}

fn common(mut job: Value, case: &Value) -> Value {
    for key in ["relabel_configs", "metric_relabel_configs"] {
        for rule in job[key].as_array_mut().into_iter().flatten() {
            let rule = rule.as_object_mut();
            if let Some(rule) = rule
                && rule.get("action") == Some(&json!("replace"))
            {
                rule.remove("action");
            }
        }
        if job[key].is_null()
            && let Some(fields) = job.as_object_mut()
        {
            fields.remove(key);
        }
    }
    // Topology sharding needs the labels of nodes, so the Operator attaches them.
    if case["operator_flags"]["topology_sharding"] == true {
        for entry in entries(&mut job) {
            entry.remove("attach_metadata");
        }
    }
    job
}

fn entries(job: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    let list = job
        .get_mut("kubernetes_sd_configs")
        .and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Replaces the paths of certificates by the values of the case.
fn inline_certificates(value: &mut Value, case: &Value) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| inline_certificates(item, case)),
        Value::Object(fields) => {
            for key in ["ca", "cert", "key"] {
                let file = format!("{key}_file");
                let material = fields.get(&file).and_then(|path| material(path, case));
                if let Some(material) = material {
                    fields.remove(&file);
                    fields.insert(key.to_owned(), material);
                }
            }
            fields
                .values_mut()
                .for_each(|field| inline_certificates(field, case));
        }
        _ => {}
    }
}

fn material(path: &Value, case: &Value) -> Option<Value> {
    let name = path.as_str()?.strip_prefix(CERTIFICATES)?;
    let (source, name) = name.split_once('_')?;
    let field = if source == "0" {
        "secrets"
    } else {
        "config_maps"
    };
    let objects = case[field].as_object()?.iter();
    objects
        .flat_map(|(object, values)| {
            let prefix = object.replace('/', "_");
            let values = values.as_object().into_iter().flatten();
            values.map(move |(key, value)| (format!("{prefix}_{key}"), value))
        })
        .find_map(|(key, value)| (key == name).then(|| value.clone()))
}

/// Removes the rules at the end that share targets, and the selector of the own node.
fn remove_sharding(job: &mut Value, case: &Value) {
    let is_additional = !cases::text(&job["job_name"]).contains('/');
    let Some(rules) = job["relabel_configs"].as_array_mut() else {
        return;
    };
    // A user's own rules for sharding have no rule that fills the hash.
    let own = rules.iter().rev().take_while(|rule| is_sharding(rule));
    let (count, fills) = own.fold((0, false), |(count, fills), rule| {
        (count + 1, fills || fills_hash(rule))
    });
    if fills {
        rules.truncate(rules.len() - count);
    }
    if is_additional && rules.is_empty() {
        job["relabel_configs"] = Value::Null;
    }
    if case["operator_flags"]["daemon_set"] != true {
        return;
    }
    for entry in entries(job) {
        let Some(selectors) = entry.get_mut("selectors").and_then(Value::as_array_mut) else {
            continue;
        };
        selectors.retain(|selector| selector["field"] != "spec.nodeName=$(NODE_NAME)");
        if selectors.is_empty() {
            entry.remove("selectors");
        }
    }
}

/// Returns true for a rule of the Operator's own. `__tmp_hash` is a user's label unless the
/// rule is one of the three forms that the Operator writes.
fn is_sharding(rule: &Value) -> bool {
    let sources = cases::texts(&rule["source_labels"]);
    let target = cases::text(&rule["target_label"]);
    let is_own = |label: &String| SHARDING.contains(&label.as_str());
    let hashes = target == HASH && sources == [HASH] && rule["action"] == "hashmod";
    let topology = target == TOPOLOGY && sources.iter().any(|label| label == TOPOLOGY);
    sources.iter().any(is_own)
        || SHARDING.contains(&target)
        || fills_hash(rule)
        || hashes
        || topology
}

/// Returns true for the rule that sets `__tmp_hash` unless it is set.
fn fills_hash(rule: &Value) -> bool {
    let sources = cases::texts(&rule["source_labels"]);
    rule["target_label"] == HASH && sources.get(1).is_some_and(|label| label == HASH)
}
