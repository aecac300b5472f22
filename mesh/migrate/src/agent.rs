//! Grafana Agent in static mode.

use serde_json::Value;

use crate::{
    notes::Notes,
    part::Part,
    value::{copy, entries, list, text},
};

/// Returns the section of metrics, which older files call `prometheus`.
pub(crate) fn section(file: &Value) -> Option<&Value> {
    ["metrics", "prometheus"]
        .into_iter()
        .map(|key| &file[key])
        .find(|section| section["configs"].is_array())
}

/// Translates the first instance, and the others that write to the same destinations.
pub(crate) fn translate(file: &Value, metrics: &Value, notes: &mut Notes) -> Part {
    let global = &metrics["global"];
    let mut part = Part::of_file(&serde_json::json!({ "global": global }));
    let inherited = part.global.remove("remote_write").unwrap_or_default();
    let mut destinations: Option<Value> = None;
    for instance in list(&metrics["configs"]) {
        let name = text(&instance["name"]).unwrap_or_default();
        let own = match &instance["remote_write"] {
            Value::Null => inherited.clone(),
            own => own.clone(),
        };
        let first = destinations.get_or_insert_with(|| own.clone());
        if *first != own {
            other_instance(&name, &own, notes);
            continue;
        }
        part.jobs
            .extend(list(&instance["scrape_configs"]).iter().cloned());
        for (key, _) in entries(instance) {
            if !matches!(key.as_str(), "name" | "scrape_configs" | "remote_write") {
                notes.add(
                    format!("configs.{name}.{key}"),
                    "a setting of the Agent; no counterpart",
                );
            }
        }
    }
    for (index, entry) in list(&destinations.unwrap_or_default()).iter().enumerate() {
        let mut entry = entry.clone();
        if let Some(sigv4) = entry["sigv4"].as_object_mut() {
            sigv4.remove("enabled");
        }
        if !entry["azuread"].is_null() {
            notes.add(
                format!("remote_write[{index}].azuread"),
                "promesh cannot sign for Azure",
            );
            continue;
        }
        part.remote_write.push(entry);
    }
    let text = "true by default in the Agent; promesh always retries 429, and sends exemplars \
                with send_exemplars: true in remote_write";
    notes.add("retry_on_http_429, send_exemplars", text);
    for job in &part.jobs {
        for group in list(&job["static_configs"]) {
            let targets = crate::value::texts(&group["targets"]);
            if let Some(own) = targets.iter().find(|target| target.ends_with(":12345")) {
                notes.add(
                    own,
                    "is the Agent itself, which is gone after the migration",
                );
            }
        }
    }
    for (key, _) in entries(file) {
        if !matches!(key.as_str(), "metrics" | "prometheus") {
            notes.add(
                key.as_str(),
                "not part of Prometheus metrics; keep an agent for it",
            );
        }
    }
    part
}

/// Notes an instance with destinations of its own.
fn other_instance(name: &str, destinations: &Value, notes: &mut Notes) {
    let mut shown = Vec::new();
    for entry in list(destinations) {
        let mut public = serde_json::Map::new();
        copy(entry, "url", &mut public, "url");
        copy(&entry["sigv4"], "region", &mut public, "region");
        copy(&entry["sigv4"], "role_arn", &mut public, "role_arn");
        copy(&entry["sigv4"], "profile", &mut public, "profile");
        let pairs = public
            .iter()
            .map(|(key, value)| format!("{key} {}", text(value).unwrap_or_default()));
        let mut line = pairs.collect::<Vec<_>>().join(", ");
        for key in ["azuread", "basic_auth", "sigv4", "oauth2", "authorization"] {
            if !entry[key].is_null() {
                line.push_str(&format!(", {key}"));
            }
        }
        shown.push(line);
    }
    let text = format!(
        "left out: this instance writes to other destinations ({}), and one prometheus.yml \
         sends everything to every remote_write; run a second promesh for it",
        shown.join("; ")
    );
    notes.add(format!("instance {name} of configs"), text);
}
