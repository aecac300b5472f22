//! Published configurations that users copy.

use std::{fs, path::Path};

use anyhow::Context;
use mesh_model::config::Config;

use crate::conformance::{Report, cases};

/// Published files that Prometheus rejects, too, each with the mistake.
const REJECTED_BY_PROMETHEUS: [(&str, &str); 1] = [(
    "adot_config_eks_prometheus_config-haproxy.yaml",
    "Prometheus rejects it, too: a replace rule without a target_label",
)];

/// Kubernetes manifests without a scrape configuration.
const MANIFESTS: [&str; 2] = [
    "adot_deployment-template_eks_otel-container-insights-prometheus.yaml",
    "adot_examples_eks_aws-prometheus_prometheus-blackbox-exporter.yaml",
];

/// Parses the published files. Those of Prometheus are configuration files. Those of the
/// AWS distribution are configurations of a collector. They contain a Prometheus section,
/// in which every `$` is doubled.
pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = suites.join("config/real");
    for name in cases::folder(&folder)? {
        let path = folder.join(&name);
        let text = fs::read_to_string(&path).with_context(|| name.clone())?;
        let exemption = REJECTED_BY_PROMETHEUS
            .iter()
            .find(|(refused, _)| *refused == name)
            .map(|(_, reason)| *reason);
        report.case_unless_exempt(&name, exemption, || {
            let sections = prometheus_sections(&filled_in(text, &path));
            if sections.is_empty() && !MANIFESTS.contains(&&*name) {
                return Err("the file contains no Prometheus configuration".to_owned());
            }
            for section in sections {
                Config::parse(&section, &path, &|_| None).map_err(|e| e.to_string())?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// Fills in the variables of a template.
fn filled_in(text: String, path: &Path) -> String {
    match path.extension() {
        Some(ending) if ending == "tpl" => text.replace("${", "").replace('}', ""),
        _ => text,
    }
}

/// Prometheus configurations in a file: the file itself, or each section `config:` of a
/// collector's `prometheus` receiver.
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
