//! Configurations that were published for others to paste.

use std::{fs, path::Path};

use anyhow::Context;
use mesh_model::config::Config;

use crate::conformance::{Report, cases};

/// Published files that Prometheus refuses too, each with its mistake.
const REFUSED_BY_PROMETHEUS: [(&str, &str); 1] = [(
    "adot_config_eks_prometheus_config-haproxy.yaml",
    "Prometheus refuses it too: a replace rule without a target_label",
)];

/// Kubernetes manifests without any scrape configuration inside.
const MANIFESTS: [&str; 2] = [
    "adot_deployment-template_eks_otel-container-insights-prometheus.yaml",
    "adot_examples_eks_aws-prometheus_prometheus-blackbox-exporter.yaml",
];

/// Prometheus' examples are files of their own; what a user of the AWS distribution
/// would paste is the Prometheus section of its collector's configuration, where
/// every `$` is written twice.
pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = suites.join("config/real");
    for name in cases::folder(&folder)? {
        let path = folder.join(&name);
        let text = fs::read_to_string(&path).with_context(|| name.clone())?;
        let excuse = REFUSED_BY_PROMETHEUS
            .iter()
            .find(|(refused, _)| *refused == name)
            .map(|(_, reason)| *reason);
        report.listed(&name, excuse, || {
            let sections = prometheus_sections(&filled_in(text, &path));
            if sections.is_empty() && !MANIFESTS.contains(&&*name) {
                return Err("no Prometheus configuration is found in it".to_owned());
            }
            for section in sections {
                Config::parse(&section, &path, &|_| None).map_err(|e| e.to_string())?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// A template's variables are filled in before anyone reads it.
fn filled_in(text: String, path: &Path) -> String {
    match path.extension() {
        Some(ending) if ending == "tpl" => text.replace("${", "").replace('}', ""),
        _ => text,
    }
}

/// The Prometheus configurations in a file: itself, or what stands below the
/// `config:` of a collector's `prometheus` receiver, wherever it is nested.
fn prometheus_sections(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut sections = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let of_receiver = lines[..at]
            .iter()
            .rev()
            .find(|l| !l.trim().is_empty() && indent(l) < indent(line));
        let is_receiver = of_receiver.is_some_and(|l| l.trim().starts_with("prometheus"));
        if line.trim() != "config:" || !is_receiver {
            continue;
        }
        let below = lines[at + 1..]
            .iter()
            .take_while(|l| l.trim().is_empty() || indent(l) > indent(line));
        let section: Vec<_> = below.copied().collect();
        let margin = section
            .iter()
            .filter(|l| !l.trim().is_empty())
            .map(|l| indent(l))
            .min()
            .unwrap_or(0);
        let dedented: Vec<_> = section
            .iter()
            .map(|l| l.get(margin..).unwrap_or(""))
            .collect();
        sections.push(dedented.join("\n").replace("$$", "$"));
    }
    if sections.is_empty() && !text.contains("receivers:") && !text.contains("apiVersion:") {
        sections.push(text.to_owned());
    }
    sections
}
