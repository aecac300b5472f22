//! Comparison of scrape jobs.

use std::time::Duration;

use mesh_model::config::duration;
use serde_json::{Map, Value, json};

use super::super::cases::{self, list, same, text};

/// Compares the jobs, their rules and the global intervals.
pub(super) fn judge(file: &Value, expect: &Value) -> Result<(), String> {
    let jobs = list(&file["scrape_configs"]);
    let wanted = list(&expect["jobs"]);
    if expect["jobs_exact"] == true {
        let names = |jobs: &[Value]| {
            let mut names: Vec<_> = jobs
                .iter()
                .map(|job| text(&job["job_name"]).to_owned())
                .collect();
            names.sort();
            names
        };
        same(&names(jobs), &names(wanted))?;
    }
    for wanted in wanted {
        let name = text(&wanted["job_name"]);
        job(find(jobs, name)?, file, wanted).map_err(|why| format!("job {name}: {why}"))?;
    }
    for wanted in list(&expect["rules"]) {
        has_rule(find(jobs, text(&wanted["job_name"]))?, wanted)?;
    }
    for (name, wanted) in expect["k8s_namespaces"].as_object().into_iter().flatten() {
        let found = &find(jobs, name)?["kubernetes_sd_configs"][0]["namespaces"]["names"];
        same(found, wanted)?;
    }
    for (key, name) in [
        ("global_scrape_interval", "scrape_interval"),
        ("global_scrape_timeout", "scrape_timeout"),
    ] {
        if let Some(wanted) = expect[key].as_str() {
            let found = text(&file["global"][name]);
            let found = if found.is_empty() {
                default(name)
            } else {
                found
            };
            same(&parsed(found), &parsed(wanted)).map_err(|why| format!("{key}: {why}"))?;
        }
    }
    Ok(())
}

fn find<'a>(jobs: &'a [Value], name: &str) -> Result<&'a Value, String> {
    let job = jobs.iter().find(|job| job["job_name"] == name);
    job.ok_or_else(|| format!("no job {name}"))
}

fn default(name: &str) -> &'static str {
    if name == "scrape_interval" {
        "1m"
    } else {
        "10s"
    }
}

fn parsed(text: &str) -> Option<Duration> {
    duration::parse(text).ok()
}

/// Returns an interval or timeout in force.
fn in_force(job: &Value, file: &Value, name: &str) -> Option<Duration> {
    let own = job[name].as_str().or_else(|| file["global"][name].as_str());
    parsed(own.unwrap_or(default(name)))
}

fn job(found: &Value, file: &Value, wanted: &Value) -> Result<(), String> {
    let interval = in_force(found, file, "scrape_interval");
    let timeout = in_force(found, file, "scrape_timeout").min(interval);
    for (name, found) in [("scrape_interval", interval), ("scrape_timeout", timeout)] {
        if let Some(wanted) = wanted[name].as_str() {
            same(&found, &parsed(wanted)).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    let defaults = json!({
        "metrics_path": "/metrics", "scheme": "http", "honor_labels": false,
        "honor_timestamps": true,
    });
    for name in [
        "metrics_path",
        "scheme",
        "honor_labels",
        "honor_timestamps",
        "params",
        "sample_limit",
    ] {
        let found = if found[name].is_null() {
            &defaults[name]
        } else {
            &found[name]
        };
        if !wanted[name].is_null() && !text(&wanted[name]).contains('{') {
            same(found, &wanted[name]).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    for (name, count) in [
        ("relabel_configs", "relabel_rules"),
        ("metric_relabel_configs", "metric_relabel_rules"),
    ] {
        let rules = json!(list(&found[name]).len());
        let is_right = match &wanted[count] {
            Value::Null => true,
            Value::Array(counts) => counts.contains(&rules),
            one => *one == rules,
        };
        if !is_right {
            return Err(format!("{rules} {name}, expected {}", wanted[count]));
        }
    }
    discovery(found, &wanted["sd"])
}

fn discovery(job: &Value, wanted: &Value) -> Result<(), String> {
    for (name, wanted) in wanted.as_object().into_iter().flatten() {
        let entries = list(&job[name]);
        let key = match name.as_str() {
            "kubernetes_sd_configs" => "role",
            "static_configs" => "targets",
            "file_sd_configs" => "files",
            "http_sd_configs" => "url",
            "dns_sd_configs" => "names",
            _ => {
                same(&json!(entries.len()), wanted).map_err(|why| format!("{name}: {why}"))?;
                continue;
            }
        };
        let texts = entries.iter().flat_map(|entry| match &entry[key] {
            Value::Array(_) => cases::texts(&entry[key]),
            one => vec![text(one).to_owned()],
        });
        let found: Vec<_> = texts.collect();
        same(&found, &cases::texts(wanted)).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

/// Checks that a list of rules has the expected one.
fn has_rule(job: &Value, wanted: &Value) -> Result<(), String> {
    let alternatives = std::iter::once(&wanted["rule"]).chain(list(&wanted["or"]));
    let alternatives: Vec<_> = alternatives.map(rule).collect();
    let rules = list(&job[text(&wanted["in"])]);
    match rules
        .iter()
        .any(|found| alternatives.contains(&rule(found)))
    {
        true => Ok(()),
        false => Err(format!(
            "job {}: no rule {}",
            wanted["job_name"], wanted["rule"]
        )),
    }
}

/// Fills in the defaults of a rule.
pub(super) fn rule(rule: &Value) -> Map<String, Value> {
    let mut full = Map::new();
    for (key, default) in [
        ("separator", ";"),
        ("regex", "(.*)"),
        ("replacement", "$1"),
        ("action", "replace"),
    ] {
        full.insert(key.to_owned(), json!(default));
    }
    for (key, value) in rule.as_object().into_iter().flatten() {
        let value = match value {
            Value::Bool(_) | Value::Number(_) => json!(value.to_string()),
            other => other.clone(),
        };
        full.insert(key.clone(), value);
    }
    full
}
