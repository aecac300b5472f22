//! vmagent: its scrape file with extensions, its flags and its custom resource.

mod flags;
mod rule;

pub(crate) use self::flags::{Flags, from_flags};

use serde_json::{Value, json};

use crate::{
    notes::Notes,
    part::Part,
    placeholder,
    value::{at, copy, entries, list, text},
};

/// Keys of a job that only vmagent knows, each with what to do.
const KEYS: [(&str, &str); 9] = [
    (
        "scrape_align_interval",
        "not aligned; promesh spreads the scrapes of a job",
    ),
    (
        "scrape_offset",
        "no fixed offset; promesh spreads the scrapes of a job",
    ),
    (
        "stream_parse",
        "not needed: promesh parses in bounded memory; see --scrape limits in docs/limits.md",
    ),
    (
        "series_limit",
        "limited unique series over time; sample_limit, the nearest key, limits one scrape",
    ),
    (
        "no_stale_markers",
        "promesh always writes staleness markers",
    ),
    (
        "relabel_debug",
        "the pages of the receiver show labels before and after relabeling",
    ),
    ("metric_relabel_debug", "no counterpart"),
    ("disable_compression", "use enable_compression: false"),
    ("disable_keepalive", "no counterpart"),
];

/// Returns true if a file uses a word that only vmagent knows.
pub(crate) fn is_file(text: &str, file: &Value) -> bool {
    let words = [
        "keep_if_equal",
        "drop_if_equal",
        "keep_metrics",
        "drop_metrics",
        "endpointslices",
    ];
    text.contains("%{")
        || words.iter().any(|word| text.contains(word))
        || list(&file["scrape_configs"]).iter().any(|job| {
            KEYS.iter().any(|(key, _)| !job[*key].is_null())
                || ["relabel_configs", "metric_relabel_configs"]
                    .iter()
                    .any(|key| list(&job[*key]).iter().any(|rule| !rule["if"].is_null()))
        })
}

/// Writes vmagent's `%{X}` as `${X}`, which is valid at the start of a YAML scalar.
pub(crate) fn environment(text: &str) -> String {
    text.replace("%{", "${")
}

/// Translates a scrape file.
pub(crate) fn file(file: &Value, notes: &mut Notes) -> Part {
    let mut file = file.clone();
    placeholder::unflow(&mut file);
    let mut part = Part::of_file(&file);
    for name in ["rule_files", "alerting"] {
        if part.sections.remove(name).is_some() {
            notes.add(name, "vmagent ignored it, and so does promesh");
        }
    }
    for job in &mut part.jobs {
        translate_job(job, notes);
    }
    if !part.jobs.is_empty() {
        let text = "vmagent ignores the timestamps of targets by default: jobs without \
                    honor_timestamps have honor_timestamps: false now";
        notes.add("honor_timestamps", text);
    }
    part
}

fn translate_job(job: &mut Value, notes: &mut Notes) {
    let name = text(&job["job_name"]).unwrap_or_default();
    let Value::Object(map) = job else { return };
    for (key, what) in KEYS {
        if map.remove(key).is_some() {
            notes.add(format!("job {name}: {key}"), what);
        }
    }
    if let Some(size) = map.remove("max_scrape_size") {
        map.insert("body_size_limit".into(), size);
    }
    map.entry("honor_timestamps").or_insert(json!(false));
    for key in ["relabel_configs", "metric_relabel_configs"] {
        if let Some(rules) = map.remove(key) {
            let place = format!("job {name}: {key}");
            map.insert(key.into(), rule::translate(&rules, &place, notes));
        }
    }
    if let Some(Value::Array(discoveries)) = map.get_mut("kubernetes_sd_configs") {
        for discovery in discoveries {
            if discovery["role"] == json!("endpointslices") {
                discovery["role"] = json!("endpointslice");
                let text = "role endpointslices is called endpointslice";
                notes.add(format!("job {name}"), text);
            }
        }
    }
}

/// Translates a VMAgent resource.
pub(crate) fn resource(object: &Value, notes: &mut Notes) -> Part {
    let spec = &object["spec"];
    let mut part = Part::default();
    for (key, name) in [
        ("scrapeInterval", "scrape_interval"),
        ("scrapeTimeout", "scrape_timeout"),
    ] {
        copy(spec, key, &mut part.global, name);
    }
    for (name, value) in entries(&spec["externalLabels"]) {
        part.external_label(name, value.clone());
    }
    let inline = rule::translate(
        &spec["inlineRelabelConfig"],
        "spec.inlineRelabelConfig",
        notes,
    );
    for (index, entry) in list(&spec["remoteWrite"]).iter().enumerate() {
        destination(entry, index, &inline, &mut part, notes);
    }
    let text = "what is scraped stands in VMServiceScrape, VMPodScrape and other resources, \
                which promesh does not read (docs/monitors.md): write ServiceMonitor and \
                PodMonitor resources, from which the operator of VictoriaMetrics made them";
    let selects = if spec["selectAllByDefault"] == json!(true) {
        "spec.selectAllByDefault"
    } else {
        "spec.*ScrapeSelector"
    };
    notes.add(selects, text);
    let size = "limits a disk queue; the outbox of receivers is bounded by \
                --outbox.max-bytes, with --outbox.spill-dir on disk";
    if !at(spec, &["remoteWriteSettings"]).is_null() {
        notes.add("spec.remoteWriteSettings (maxDiskUsagePerURL)", size);
    }
    for (name, _) in entries(&spec["extraArgs"]) {
        notes.add(format!("spec.extraArgs.{name}"), "no counterpart");
    }
    for key in [
        "metricRelabelConfig",
        "additionalScrapeConfigs",
        "inlineScrapeConfig",
        "streamAggrConfig",
        "relabelConfig",
    ] {
        if !spec[key].is_null() {
            let text = "not translated; add it to prometheus.yml by hand";
            notes.add(format!("spec.{key}"), text);
        }
    }
    part
}

/// Translates an entry of `spec.remoteWrite`.
fn destination(entry: &Value, index: usize, inline: &Value, part: &mut Part, notes: &mut Notes) {
    let place = format!("spec.remoteWrite[{index}]");
    let Some(url) = text(&entry["url"]) else {
        notes.add(place, "has no url; add it to remote_write");
        return;
    };
    let mut written = serde_json::Map::new();
    written.insert("url".into(), json!(url));
    copy(entry, "sendTimeout", &mut written, "remote_timeout");
    let own = rule::translate(&entry["inlineUrlRelabelConfig"], &place, notes);
    let rules: Vec<_> = list(inline).iter().chain(list(&own)).cloned().collect();
    if !rules.is_empty() {
        written.insert("write_relabel_configs".into(), Value::Array(rules));
    }
    if !entry["aws"].is_null() {
        let mut sigv4 = serde_json::Map::new();
        copy(&entry["aws"], "region", &mut sigv4, "region");
        copy(&entry["aws"], "roleARN", &mut sigv4, "role_arn");
        written.insert("sigv4".into(), Value::Object(sigv4));
    }
    for (key, value) in entries(entry) {
        let text = match key.as_str() {
            "url" | "sendTimeout" | "inlineUrlRelabelConfig" | "aws" => continue,
            "streamAggrConfig" => {
                let outputs: Vec<_> = list(&value["rules"])
                    .iter()
                    .flat_map(|rule| crate::value::texts(&rule["outputs"]))
                    .collect();
                format!(
                    "stream aggregation (streamAggr) has no counterpart: raw series are stored \
                     in place of its outputs ({})",
                    outputs.join(", ")
                )
            }
            "maxDiskUsage" => "maxDiskUsage limits a disk queue; the outbox of receivers is \
                               bounded by --outbox.max-bytes, with --outbox.spill-dir on disk"
                .to_owned(),
            "basicAuth" | "bearerTokenSecret" | "oauth2" | "tlsConfig" => {
                "names Secrets; mount them, and write the *_file keys of remote_write".to_owned()
            }
            _ => "no counterpart".to_owned(),
        };
        notes.add(format!("{place}.{key}"), text);
    }
    part.remote_write.push(Value::Object(written));
}
