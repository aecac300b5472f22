//! Comparison of a written prometheus.yml with the expectations of a case.

use serde_json::Value;

use super::{super::cases, jobs};

/// Compares the sections of the file.
pub(super) fn judge(text: &str, expect: &Value, notes: &str) -> Result<(), String> {
    let file: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    jobs::judge(&file, expect)?;
    labels(&file, expect, notes)?;
    destinations(&file, expect, notes)
}

fn labels(file: &Value, expect: &Value, notes: &str) -> Result<(), String> {
    let Some(wanted) = expect["external_labels"].as_object() else {
        return Ok(());
    };
    let written = file["global"]["external_labels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let word = expect["external_labels_or_note"].as_str();
    if written.is_empty() && word.is_some_and(|word| notes.contains(word)) {
        return Ok(());
    }
    if expect["external_labels_exact"] == false || !expect["external_labels_optional"].is_null() {
        let same = |(name, value): (&String, &Value)| written.get(name) == Some(value);
        return match wanted.iter().all(same) {
            true => Ok(()),
            false => Err(format!("external_labels {written:?}, expected {wanted:?}")),
        };
    }
    cases::same(&written, wanted)
}

fn destinations(file: &Value, expect: &Value, notes: &str) -> Result<(), String> {
    for wanted in cases::list(&expect["remote_write_any"]) {
        let url = cases::text(&wanted["url"]);
        let is_written = cases::list(&file["remote_write"])
            .iter()
            .any(|entry| entry["url"] == url);
        if !is_written && !notes.contains(url) {
            return Err(format!("{url} is neither written nor noted"));
        }
    }
    let Some(wanted) = expect["remote_write"].as_array() else {
        return Ok(());
    };
    let written = cases::list(&file["remote_write"]);
    // An entry whose URL is not known may be left out. `must_note` names the placeholder.
    let is_open = |entry: &&Value| {
        entry["url"]
            .as_str()
            .is_none_or(|url| !url.contains("://") || url.contains(['<', '{', '$']))
    };
    let known: Vec<_> = wanted.iter().filter(|entry| !is_open(entry)).collect();
    let found: Vec<_> = written.iter().filter(|entry| !is_open(entry)).collect();
    if known.len() != found.len() {
        return Err(format!("remote_write {written:?}, expected {wanted:?}"));
    }
    known
        .iter()
        .zip(&found)
        .try_for_each(|(wanted, found)| destination(found, wanted))
}

fn destination(found: &Value, wanted: &Value) -> Result<(), String> {
    if found["url"] != wanted["url"] && found["url"] != wanted["or_url"] {
        return Err(format!("url {}, expected {}", found["url"], wanted["url"]));
    }
    for (key, value) in wanted.as_object().into_iter().flatten() {
        match key.as_str() {
            "sigv4" if value.is_null() => cases::same(&found["sigv4"], value)?,
            "sigv4" | "queue_config" | "headers" => subset(&found[key], value, key)?,
            "remote_timeout" => cases::same(&found[key], value)?,
            "basic_auth" => {
                let name = &found[key]["username"];
                if *name != value["username"] && *name != wanted["or_username"] {
                    return Err(format!("username {name}, expected {value}"));
                }
            }
            "write_relabel_rules" => {
                let rules = cases::list(&found["write_relabel_configs"]).len();
                cases::same(&Some(rules as u64), &value.as_u64())?;
            }
            "write_relabel" => {
                let rules = cases::list(&found["write_relabel_configs"])
                    .iter()
                    .map(jobs::rule);
                let wanted: Vec<_> = cases::list(value).iter().map(jobs::rule).collect();
                cases::same(&rules.collect::<Vec<_>>(), &wanted)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Compares the expected keys only.
fn subset(found: &Value, wanted: &Value, place: &str) -> Result<(), String> {
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if !value.is_null() && found[key] != *value {
            return Err(format!(
                "{place}.{key}: found {}, expected {value}",
                found[key]
            ));
        }
    }
    Ok(())
}
