//! The translation of one source, and how several become one file.

use std::{collections::HashSet, time::Duration};

use mesh_model::config::duration;
use serde_json::{Map, Value, json};

use crate::{notes::Notes, value::text};

/// Translation of one source: sections of prometheus.yml.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) global: Map<String, Value>,
    /// Other sections, such as `scrape_config_files`.
    pub(crate) sections: Map<String, Value>,
    pub(crate) jobs: Vec<Value>,
    pub(crate) remote_write: Vec<Value>,
    /// The targets are declared by resources of the Prometheus Operator.
    pub(crate) monitors: bool,
    /// Prometheus or PrometheusAgent object whose selectors apply, such as `monitoring/k8s`.
    pub(crate) selects: Option<String>,
    /// IAM role that writes, if the source names it.
    pub(crate) role_arn: Option<String>,
}

/// Scrape interval without any setting.
const INTERVAL: &str = "1m";
/// Scrape timeout without any setting.
const TIMEOUT: &str = "10s";

// === impl Part ===

impl Part {
    /// Reads the sections of a file in Prometheus's language.
    pub(crate) fn of_file(file: &Value) -> Self {
        let mut sections = file.as_object().cloned().unwrap_or_default();
        let list = |section: Option<Value>| match section {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let jobs = list(sections.remove("scrape_configs"));
        let remote_write = list(sections.remove("remote_write"));
        let global = match sections.remove("global") {
            Some(Value::Object(global)) => global,
            _ => Map::new(),
        };
        sections.retain(|_, value| !value.is_null());
        Self {
            global,
            sections,
            jobs,
            remote_write,
            ..Self::default()
        }
    }

    /// Adds a label to those of every series.
    pub(crate) fn external_label(&mut self, name: &str, value: Value) {
        let labels = self
            .global
            .entry("external_labels")
            .or_insert_with(|| json!({}));
        if let Value::Object(labels) = labels {
            labels.insert(name.to_owned(), value);
        }
    }

    /// Adds another part. Its global settings move into its jobs.
    pub(crate) fn join(&mut self, other: Self, notes: &mut Notes) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let labels = "external_labels";
        if !other.global.get(labels).is_none_or(Value::is_null)
            && other.global.get(labels) != self.global.get(labels)
        {
            let text = "a second source has other external labels; they are left out";
            notes.add(labels, text);
        }
        let mut jobs = other.jobs;
        for job in &mut jobs {
            inherit(job, &other.global);
        }
        self.jobs.extend(jobs);
        for entry in other.remote_write {
            if !self.remote_write.contains(&entry) {
                self.remote_write.push(entry);
            }
        }
        for (key, value) in other.sections {
            self.sections.entry(key).or_insert(value);
        }
        self.monitors |= other.monitors;
        self.selects = self.selects.take().or(other.selects);
        self.role_arn = self.role_arn.take().or(other.role_arn);
    }

    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.remote_write.is_empty() && self.global.is_empty()
    }

    /// Gives each job a name of its own, since Prometheus refuses a name that occurs twice.
    pub(crate) fn rename_duplicates(&mut self, notes: &mut Notes) {
        let mut seen = HashSet::new();
        for job in &mut self.jobs {
            let Some(name) = text(&job["job_name"]) else {
                continue;
            };
            let mut unique = name.clone();
            let mut number = 2;
            while !seen.insert(unique.clone()) {
                unique = format!("{name}-{number}");
                number += 1;
            }
            if unique != name {
                let text = format!("the name occurs twice; the second job is now {unique}");
                notes.add(format!("job {name}"), text);
                job["job_name"] = json!(unique);
            }
        }
    }

    /// Cuts timeouts to their interval, since Prometheus refuses a longer one.
    pub(crate) fn cut_timeouts(&mut self, notes: &mut Notes) {
        let global = Value::Object(self.global.clone());
        let interval = text(&global["scrape_interval"]).unwrap_or_else(|| INTERVAL.into());
        if longer(&text(&global["scrape_timeout"]), &interval) {
            notes.add("global.scrape_timeout", "cut to the scrape interval");
            let cut = json!(interval);
            self.global.insert("scrape_timeout".into(), cut);
        }
        for job in self.jobs.iter_mut().filter_map(Value::as_object_mut) {
            let own = job.get("scrape_interval").and_then(text);
            let interval = own.unwrap_or_else(|| interval.clone());
            if longer(&job.get("scrape_timeout").and_then(text), &interval) {
                let name = job.get("job_name").and_then(text).unwrap_or_default();
                let place = format!("job {name}: scrape_timeout");
                notes.add(place, "cut to the scrape interval");
                job.insert("scrape_timeout".into(), json!(interval));
            }
        }
    }
}

/// Writes the interval and timeout in force into a job.
fn inherit(job: &mut Value, global: &Map<String, Value>) {
    let Value::Object(job) = job else { return };
    for (key, default) in [("scrape_interval", INTERVAL), ("scrape_timeout", TIMEOUT)] {
        if job.get(key).is_none_or(Value::is_null) {
            let value = global.get(key).filter(|value| !value.is_null());
            let value = value.cloned().unwrap_or_else(|| json!(default));
            job.insert(key.to_owned(), value);
        }
    }
    let interval = job.get("scrape_interval").and_then(text);
    if let Some(interval) = interval
        && longer(&job.get("scrape_timeout").and_then(text), &interval)
    {
        job.insert("scrape_timeout".into(), json!(interval));
    }
}

/// Returns true if the timeout is longer than the interval.
fn longer(timeout: &Option<String>, interval: &str) -> bool {
    let parsed = |text: &str| -> Option<Duration> { duration::parse(text).ok() };
    let timeout = timeout.as_deref().and_then(parsed);
    timeout
        .zip(parsed(interval))
        .is_some_and(|(timeout, interval)| timeout > interval)
}
