//! vmagent's command line.

use serde_json::{Map, Value, json};

use super::{environment, file, rule};
use crate::{input::Beside, notes::Notes, part::Part, read};

/// Names and values of the flags of one vmagent, in order.
pub(crate) struct Flags(Vec<(String, String)>);

/// Flags of one destination, each with the section and key in `remote_write`.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("remoteWrite.aws.region", "sigv4", "region"),
    ("remoteWrite.aws.roleARN", "sigv4", "role_arn"),
    ("remoteWrite.basicAuth.username", "basic_auth", "username"),
    (
        "remoteWrite.basicAuth.passwordFile",
        "basic_auth",
        "password_file",
    ),
    ("remoteWrite.tlsCAFile", "tls_config", "ca_file"),
    ("remoteWrite.tlsCertFile", "tls_config", "cert_file"),
    ("remoteWrite.tlsKeyFile", "tls_config", "key_file"),
];

// === impl Flags ===

impl Flags {
    /// Reads a command. Returns `None` if it has no flag of vmagent.
    pub(crate) fn of_command(words: &[String]) -> Option<Self> {
        let flags: Vec<(String, String)> = words
            .iter()
            .filter_map(|word| {
                let flag = word.trim().strip_prefix('-')?;
                let flag = flag.strip_prefix('-').unwrap_or(flag);
                let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
                Some((name.to_owned(), value.trim_matches('"').to_owned()))
            })
            .collect();
        let is_vmagent = flags
            .iter()
            .any(|(name, _)| name.starts_with("promscrape.") || name.starts_with("remoteWrite."));
        is_vmagent.then_some(Self(flags))
    }

    /// Returns the values of a flag. A flag may stand several times, and its values may be
    /// separated by commas.
    fn values(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(flag, _)| flag == name);
        values
            .flat_map(|(_, value)| value.split(',').map(str::to_owned))
            .collect()
    }

    /// Returns the value for the destination at `index`. One value is for all.
    fn value(&self, name: &str, index: usize) -> Option<String> {
        let values = self.values(name);
        let value = match values.as_slice() {
            [one] => Some(one),
            several => several.get(index),
        };
        value.filter(|value| !value.is_empty()).cloned()
    }
}

/// Translates a command line and the files that it names.
pub(crate) fn from_flags(flags: &Flags, beside: &Beside<'_>, notes: &mut Notes) -> Part {
    let mut part = Part::default();
    for path in flags.values("promscrape.config") {
        match beside
            .read(&path)
            .map(|text| read::value(&environment(&text), &path))
        {
            Some(Ok(value)) => part.join(file(&value, notes), notes),
            Some(Err(error)) => notes.add("-promscrape.config", error.to_string()),
            None => {
                let text = format!("{path} is not beside this file; give it as another FILE");
                notes.add("-promscrape.config", text);
            }
        }
    }
    for label in flags.values("remoteWrite.label") {
        if let Some((name, value)) = label.split_once('=') {
            part.external_label(name, json!(value));
        }
    }
    let common = rules(flags.value("remoteWrite.relabelConfig", 0), beside, notes);
    for (index, url) in flags.values("remoteWrite.url").into_iter().enumerate() {
        let own = flags.value("remoteWrite.urlRelabelConfig", index);
        let own = rules(own, beside, notes);
        let rules = common.iter().chain(&own).cloned().collect();
        part.remote_write
            .push(destination(flags, index, &url, rules));
    }
    for (name, _) in &flags.0 {
        note(name, notes);
    }
    part
}

fn rules(path: Option<String>, beside: &Beside<'_>, notes: &mut Notes) -> Vec<Value> {
    let Some(path) = path else { return Vec::new() };
    let text = beside.read(&path);
    let value = text.map(|text| read::value(&environment(&text), &path));
    match value {
        Some(Ok(value)) => match rule::translate(&value, &path, notes) {
            Value::Array(rules) => rules,
            _ => Vec::new(),
        },
        _ => {
            notes.add(
                path,
                "rules of relabeling that could not be read; add them by hand",
            );
            Vec::new()
        }
    }
}

fn destination(flags: &Flags, index: usize, url: &str, rules: Vec<Value>) -> Value {
    let mut entry = Map::new();
    entry.insert("url".into(), json!(url));
    if !rules.is_empty() {
        entry.insert("write_relabel_configs".into(), Value::Array(rules));
    }
    let signs = flags.value("remoteWrite.aws.useSigv4", index).as_deref() == Some("true");
    if signs {
        entry.insert("sigv4".into(), json!({}));
    }
    for (flag, section, key) in SETTINGS {
        if section == "sigv4" && !signs {
            continue;
        }
        if let Some(value) = flags.value(flag, index) {
            let section = entry.entry(section).or_insert_with(|| json!({}));
            section[key] = json!(value);
        }
    }
    if flags
        .value("remoteWrite.tlsInsecureSkipVerify", index)
        .as_deref()
        == Some("true")
    {
        let section = entry.entry("tls_config").or_insert_with(|| json!({}));
        section["insecure_skip_verify"] = json!(true);
    }
    if let Some(timeout) = flags.value("remoteWrite.sendTimeout", index) {
        entry.insert("remote_timeout".into(), json!(timeout));
    }
    Value::Object(entry)
}

/// Notes a flag that has no exact counterpart.
fn note(name: &str, notes: &mut Notes) {
    let text = match name {
        "promscrape.config"
        | "remoteWrite.url"
        | "remoteWrite.label"
        | "remoteWrite.relabelConfig"
        | "remoteWrite.urlRelabelConfig"
        | "remoteWrite.aws.useSigv4"
        | "remoteWrite.tlsInsecureSkipVerify"
        | "remoteWrite.sendTimeout" => return,
        _ if SETTINGS.iter().any(|(flag, _, _)| *flag == name) => return,
        "promscrape.cluster.replicationFactor" => {
            "scraped each target several times (replication), which AMP does not deduplicate \
             without labels: use the HA pair of groups a and b (docs/ha.md)"
        }
        _ if name.starts_with("promscrape.cluster.") => {
            "receivers of a group share targets by themselves (--shard.members)"
        }
        _ if name.starts_with("remoteWrite.streamAggr") || name.starts_with("streamAggr") => {
            "stream aggregation has no counterpart: raw series are stored"
        }
        "remoteWrite.tmpDataPath" | "remoteWrite.maxDiskUsagePerURL" => {
            "the disk queue; the outbox of receivers replaces it (--outbox.spill-dir, \
             --outbox.max-bytes)"
        }
        "promscrape.fileSDCheckInterval" => {
            "files are read on change; refresh_interval of file_sd_configs is the fallback"
        }
        "promscrape.configCheckInterval" => "promesh takes up a changed file by itself",
        "remoteWrite.basicAuth.password" | "remoteWrite.bearerToken" => {
            "a secret on the command line; write it to a file, and name the file in remote_write"
        }
        // A value may be a secret, so only the name is shown.
        _ => "no counterpart",
    };
    notes.add(format!("-{name}"), text);
}
