//! Objects and the `scrape_configs` that the Operator generates for them.

use std::path::Path;

use mesh_model::config::Config;
use mesh_monitors::Shown;
use serde_json::{Value, json};

use super::{Stored, files, jobs, normal, rows, settings};
use crate::conformance::Report;

/// Cases that promesh does not meet, and the reason.
const EXEMPT: &[(&str, &str)] = &[(
    "extra/apiserver-config",
    "the Operator looks for the credentials of apiserverConfig in the monitor's namespace, and finds none; promesh looks in the namespace of the Prometheus",
)];

/// Compares the jobs.
pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in rows(suites, "cases.jsonl")? {
        let name = files::text(&case["name"]);
        report.case_unless_exempt(name, exemption(EXEMPT, name), || {
            let found = jobs(&case, &settings(&case)?, &Stored::of(&case), |_| true)?;
            same_jobs(normal::found(found, &case), &normal::expected(&case))
        });
    }
    Ok(())
}

pub(super) fn exemption(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let found = list.iter().find(|(exempt, _)| *exempt == name);
    found.map(|(_, reason)| *reason)
}

pub(super) fn same_jobs(found: Vec<Value>, expected: &[Value]) -> Result<(), String> {
    for (found, expected) in found.iter().zip(expected) {
        if let Some(difference) = difference("", found, expected) {
            return Err(format!("{}{difference}", expected["job_name"]));
        }
    }
    files::same(&found.len(), &expected.len())
}

/// Finds the first difference of two values, and its place.
fn difference(path: &str, found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let null = &Value::Null;
                let (found, expected) = (one.get(key), other.get(key));
                if found.is_some() != expected.is_some() {
                    let (found, expected) = (found.unwrap_or(null), expected.unwrap_or(null));
                    return Some(format!("{path}.{key}: found {found}, expected {expected}"));
                }
                difference(&format!("{path}.{key}"), found?, expected?)
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut items = one.iter().zip(other).enumerate();
            items.find_map(|(at, (one, other))| difference(&format!("{path}[{at}]"), one, other))
        }
        (one, other) if one == other => None,
        // An integer may be a float.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        (one, other) => Some(format!("{path}: found {one}, expected {other}")),
    }
}

/// Compares `global`.
pub(crate) fn global(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in rows(suites, "cases.jsonl")? {
        report.case(files::text(&case["name"]), || {
            let mut found = settings(&case)?.global().to_json(Shown::WithSecrets);
            let mut expected = case["expected_global"].clone();
            // Receivers take the external labels of prometheus.yml.
            remove(&mut expected, "external_labels");
            // The API server would add the interval.
            if expected["scrape_interval"].is_null() {
                remove(&mut expected, "scrape_interval");
                remove(&mut found, "scrape_interval");
            }
            difference("global", &found, &expected).map_or(Ok(()), Err)
        });
    }
    Ok(())
}

fn remove(value: &mut Value, key: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(key);
    }
}

/// Parses the generated configuration as a receiver does. Prometheus loads it if the receiver does.
pub(crate) fn loads(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in rows(suites, "cases.jsonl")? {
        let name = files::text(&case["name"]);
        if case["expected_scrape_configs"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            continue;
        }
        report.case_unless_exempt(name, exemption(LOADS_EXEMPT, name), || {
            let settings = settings(&case)?;
            let found = jobs(&case, &settings, &Stored::of(&case), |_| true)?;
            let global = settings.global().to_json(Shown::WithSecrets);
            let text = json!({"global": global, "scrape_configs": found}).to_string();
            let parsed = Config::parse(&text, Path::new("monitors.json"), &|_| None);
            match (parsed, case["prometheus_loads"] == true) {
                (Ok(_), true) | (Err(_), false) => Ok(()),
                (Ok(_), false) => Err(format!(
                    "is accepted, expected {}",
                    case["prometheus_error"]
                )),
                (Err(error), true) => Err(error.to_string()),
            }
        });
    }
    Ok(())
}

/// Cases of [`loads`] that promesh does not meet, and the reason.
const LOADS_EXEMPT: &[(&str, &str)] = &[
    (
        "extra/agent-daemonset-role-selector",
        "promesh has no selector for the own node, so there is no second selector of the role pod",
    ),
    (
        "select/ScrapeConfigs/LightSail_SD_config_with_valid_proxy_settings",
        "promesh does not have this mechanism; a receiver refuses it by name",
    ),
    (
        "select/ScrapeConfigs/Scaleway_SD_config",
        "promesh does not have this mechanism; a receiver refuses it by name",
    ),
];
