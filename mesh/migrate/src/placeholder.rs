//! Placeholders: text that another program replaces before use.

use serde_json::{Map, Value, json};

use crate::{notes::Notes, part::Part, value::text};

/// Keys of scalars that a template may fill with `{X}` without quotes.
const SCALARS: [&str; 16] = [
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "job_name",
    "regex",
    "replacement",
    "target_label",
    "url",
    "endpoint",
    "region",
    "arn",
    "role_arn",
    "metrics_path",
    "scheme",
    "port",
    "server",
];
/// Keys whose value is no text, so that a placeholder cannot stay in the file.
const TYPED: [&str; 9] = [
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "refresh_interval",
    "port",
    "sample_limit",
    "role",
    "remote_timeout",
    "scheme",
];

/// Keys of secrets.
const SECRETS: [&str; 7] = [
    "access_key",
    "secret_key",
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "headers",
];

/// Writes `key: {X}`, which YAML reads as a map, as the text `{X}`.
pub(crate) fn unflow(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(unflow),
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let labels = key == "external_labels";
                if labels && let Value::Object(labels) = value {
                    labels.values_mut().for_each(unflow_scalar);
                } else if SCALARS.contains(&key.as_str()) {
                    unflow_scalar(value);
                } else {
                    unflow(value);
                }
            }
        }
        _ => {}
    }
}

fn unflow_scalar(value: &mut Value) {
    if value.is_object()
        && let Some(text) = text(value)
    {
        *value = json!(text);
    }
}

/// Notes every placeholder. Returns the destinations that cannot be written yet, since their
/// URL is a placeholder.
pub(crate) fn collect(part: &mut Part, notes: &mut Notes) -> Vec<Value> {
    walk_map(&mut part.global, "global", false, notes);
    for job in part.jobs.iter_mut().filter_map(Value::as_object_mut) {
        let name = job.get("job_name").and_then(text).unwrap_or_default();
        walk_map(job, &format!("job {name}"), false, notes);
    }
    for (index, entry) in part.remote_write.iter_mut().enumerate() {
        walk(entry, &format!("remote_write[{index}]"), true, notes);
    }
    let (written, waiting) = part.remote_write.drain(..).partition(|entry| {
        let url = text(&entry["url"]).unwrap_or_default();
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        !host.is_empty() && !url.contains(['<', '>', '{', '}'])
    });
    part.remote_write = written;
    waiting
}

fn walk_map(map: &mut Map<String, Value>, place: &str, capitals: bool, notes: &mut Notes) {
    map.retain(|key, value| {
        let place = format!("{place}.{key}");
        let found = match value {
            Value::String(text) => names(text, false),
            _ => Vec::new(),
        };
        if TYPED.contains(&key.as_str()) && !found.is_empty() {
            let text = format!(
                "left out: a template fills in {}; add the value",
                found.join(", ")
            );
            notes.add(place, text);
            return false;
        }
        let discovers = key == "static_configs" || key == "http_sd_configs";
        // A key in capitals is a secret, which no note may show.
        let capitals = (capitals || discovers) && !SECRETS.contains(&key.as_str());
        walk(value, &place, capitals, notes);
        true
    });
}

fn walk(value: &mut Value, place: &str, capitals: bool, notes: &mut Notes) {
    match value {
        Value::String(text) => {
            for name in names(text, capitals) {
                let text = format!("placeholder {name}: write its value before you use the file");
                notes.add(place, text);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{place}[{index}]"), capitals, notes);
            }
        }
        Value::Object(map) => walk_map(map, place, capitals, notes),
        _ => {}
    }
}

/// Returns the placeholders of a text. `capitals` adds words such as `WORKSPACE`.
fn names(text: &str, capitals: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (open, close) in [('{', '}'), ('<', '>')] {
        let mut start = 0;
        while let Some(begin) = text[start..].find(open).map(|at| start + at) {
            let Some(end) = text[begin..].find(close).map(|at| begin + at) else {
                break;
            };
            let name = &text[begin + 1..end];
            start = begin + 1;
            // `(?P<x>` is a group of a regular expression, `{2}` a repetition.
            let before = &text[..begin];
            let is_group = before.ends_with("(?P") || before.ends_with("(?");
            let is_name = name
                .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '{')
                && !name.contains([',', '=', '"']);
            if is_name && !is_group && !before.ends_with("\\p") {
                found.push(text[begin..=end].to_owned());
            }
        }
    }
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| capitals || (word.starts_with("__") && word.ends_with("__"))) {
        let is_capital = word.len() > 3
            && word.chars().any(|c| c.is_ascii_uppercase())
            && !word.chars().any(|c| c.is_ascii_lowercase())
            && word.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        if is_capital && !found.iter().any(|known| known.contains(word)) {
            found.push(word.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_placeholders_but_no_syntax_of_regular_expressions() {
        for (text, expected) in [
            ("${env:X}/a", vec!["{env:X}"]),
            ("<region>", vec!["<region>"]),
            ("{HOSTNAME}", vec!["{HOSTNAME}"]),
            ("__HOSTNAME__", vec!["__HOSTNAME__"]),
            ("(?P<name>a{2,3})${1}__meta_name", vec![]),
        ] {
            assert_eq!(names(text, false), expected, "{text}");
        }
        assert_eq!(
            names("https://a.REGION.com/WORKSPACE", true),
            ["REGION", "WORKSPACE"]
        );
    }
}
