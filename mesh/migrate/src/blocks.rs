//! Files in HCL-like languages: Terraform, whose heredocs hold configurations, and Alloy.

use std::collections::BTreeMap;

use crate::notes::Notes;

/// Components of Alloy with a counterpart, each with the part of prometheus.yml.
const ALLOY: [(&str, &str); 12] = [
    (
        "prometheus.scrape",
        "an entry of scrape_configs; scrape_interval is 60s by default, and job_name the component's name",
    ),
    (
        "discovery.kubernetes",
        "kubernetes_sd_configs of the jobs that use it",
    ),
    (
        "discovery.relabel",
        "relabel_configs of the jobs that use it",
    ),
    (
        "prometheus.relabel",
        "metric_relabel_configs of the jobs that forward to it",
    ),
    (
        "prometheus.remote_write",
        "remote_write; its external_labels belong to global, sigv4 keeps its keys; queue_config too, wal is the outbox",
    ),
    (
        "prometheus.operator.",
        "--monitors.cluster (docs/monitors.md)",
    ),
    (
        "prometheus.exporter.",
        "run the exporter beside promesh, and scrape it",
    ),
    ("discovery.", "the *_sd_configs of the same name"),
    ("otelcol.receiver.otlp", "a promesh gateway (docs/sdk.md)"),
    (
        "otelcol.",
        "no counterpart in scraping; pushes go to a promesh gateway (docs/sdk.md)",
    ),
    ("loki.", "logs: keep Alloy for them"),
    (
        "remote.kubernetes.secret",
        "mount the Secret, and use the *_file keys, or IRSA",
    ),
];

/// Returns true if a line opens a block of a component, such as `prometheus.scrape "x" {`.
pub(crate) fn is_alloy(text: &str) -> bool {
    text.lines().any(|line| {
        component(line)
            .is_some_and(|name| name.starts_with("prometheus.") || name.starts_with("discovery."))
    })
}

/// Returns the name of the component that a line opens.
fn component(line: &str) -> Option<&str> {
    let head = line.trim().strip_suffix('{')?.trim();
    let name = head.split_whitespace().next()?;
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    is_name.then_some(name)
}

/// Notes which blocks of an Alloy file map to what.
pub(crate) fn alloy(text: &str, notes: &mut Notes) {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = component(line) {
            found.entry(name).or_default().push(index + 1);
        }
        for part in line.split("env(\"").skip(1) {
            if let Some((variable, _)) = part.split_once('"') {
                notes.add(
                    format!("env({variable})"),
                    "an environment variable; write its value",
                );
            }
        }
    }
    notes.add(
        "Alloy",
        "its language is not translated; map these blocks by hand",
    );
    for (name, lines) in found {
        let known = ALLOY.iter().find(|(start, _)| name.starts_with(start));
        let text = match (known, name) {
            (Some((_, text)), _) => text,
            (None, "sigv4") => "sigv4 of remote_write",
            (None, "clustering") => "receivers share targets by themselves",
            (None, "declare" | "argument") => "a module: map the components within it",
            (None, "rule") => "an entry of the relabeling list",
            (None, "import.git" | "import.http" | "import.file" | "import.string") => {
                "a module: map the components within it"
            }
            _ if name.contains('.') => "no counterpart",
            _ => continue,
        };
        let lines: Vec<_> = lines.iter().take(8).map(usize::to_string).collect();
        notes.add(format!("{name} (line {})", lines.join(", ")), text);
    }
}

pub(crate) fn is_terraform(name: &str, text: &str) -> bool {
    name.ends_with(".tf")
        || text
            .lines()
            .any(|line| line.starts_with("resource \"") || line.starts_with("module \""))
}

/// Returns the contents of all heredocs.
pub(crate) fn heredocs(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, tag)) = line.split_once("<<") else {
            continue;
        };
        let tag = tag.trim_start_matches(['-', '~']).trim();
        if tag.is_empty() || !tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let body: Vec<_> = lines
            .by_ref()
            .take_while(|line| line.trim() != tag)
            .collect();
        let indent = body
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.len() - line.trim_start().len())
            .min()
            .unwrap_or(0);
        let body = body
            .iter()
            .map(|line| line.get(indent..).unwrap_or_default());
        let body = body.collect::<Vec<_>>().join("\n");
        found.push(body.replace("$${", "${").replace("%%{", "%{"));
    }
    found
}
