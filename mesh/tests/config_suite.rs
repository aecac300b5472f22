//! Prometheus' own configuration test cases, read from the suites.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mesh::config::{Config, ConfigError};
use serde_json::Value;

const SECTION_OF_OTHERS: &str =
    "a mistake in a section that belongs to others, which is accepted unread and named";
const MECHANISM_OF_OTHERS: &str = "a mistake in a discovery mechanism that promesh does not have, which is refused by name when run";

/// Bad files that are accepted, each with its reason.
const NOT_MET: &[(&str, &str)] = &[
    ("agent_mode.with_alert_manager.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_alert_relabels.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_remote_reads.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_rule_files.yml", SECTION_OF_OTHERS),
    ("azure_bearertoken_basicauth.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_client_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_client_secret_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_subscription_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_tenant_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    (
        "config_with_deprecated_am_api_config.yml",
        SECTION_OF_OTHERS,
    ),
    ("empty_alert_relabel_config.bad.yml", SECTION_OF_OTHERS),
    (
        "empty_alertmanager_relabel_config.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("empty_rr_config.bad.yml", SECTION_OF_OTHERS),
    ("eureka_invalid_server.bad.yml", MECHANISM_OF_OTHERS),
    ("eureka_no_server.bad.yml", MECHANISM_OF_OTHERS),
    ("lightsail_token_file.bad.yml", MECHANISM_OF_OTHERS),
    (
        "marathon_authtoken_authorization.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    (
        "marathon_authtoken_authtokenfile.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    ("marathon_authtoken_basicauth.bad.yml", MECHANISM_OF_OTHERS),
    (
        "marathon_authtoken_bearertoken.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    ("marathon_no_servers.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_no_region.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_no_secret.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_two_secrets.bad.yml", MECHANISM_OF_OTHERS),
    ("puppetdb_token_file.bad.yml", MECHANISM_OF_OTHERS),
    ("remote_read_dup.bad.yml", SECTION_OF_OTHERS),
    ("remote_read_header.bad.yml", SECTION_OF_OTHERS),
    ("remote_read_url_missing.bad.yml", SECTION_OF_OTHERS),
    ("rules.bad.yml", SECTION_OF_OTHERS),
    ("stackit_endpoint.bad.yml", MECHANISM_OF_OTHERS),
    (
        "tracing_invalid_authorization_header.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tracing_invalid_compression.bad.yml", SECTION_OF_OTHERS),
    ("tracing_invalid_header.bad.yml", SECTION_OF_OTHERS),
    ("tracing_missing_endpoint.bad.yml", SECTION_OF_OTHERS),
    ("tsdb_chunk_encoding_floats.bad.yml", SECTION_OF_OTHERS),
    (
        "tsdb_chunk_encoding_floats_wrong_case.bad.yml",
        SECTION_OF_OTHERS,
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tsdb_retention_percentage.bad.yml", SECTION_OF_OTHERS),
    (
        "tsdb_retention_percentage_negative.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tsdb_retention_size.bad.yml", SECTION_OF_OTHERS),
    ("tsdb_retention_time.bad.yml", SECTION_OF_OTHERS),
    ("uyuni_no_server.bad.yml", MECHANISM_OF_OTHERS),
    ("uyuni_token_file.bad.yml", MECHANISM_OF_OTHERS),
];

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites/config")
}

fn cases() -> Value {
    let text = std::fs::read_to_string(suite().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn files_are_accepted_and_refused_as_prometheus_does() {
    let cases = cases();
    let mut missed = BTreeSet::new();
    for case in cases["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let outcome = Config::load(&suite().join(file));
        let accepted = case["expect"] == "accept";
        if outcome.is_ok() != accepted {
            let name = file.rsplit('/').next().unwrap();
            eprintln!(
                "{name}: expected {}, got {:?}",
                case["expect"],
                outcome.err().map(|e: ConfigError| e.to_string())
            );
            missed.insert(name.to_owned());
        }
    }
    let listed: BTreeSet<_> = NOT_MET.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(missed, listed);
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn inline_cases_are_accepted() {
    for case in cases()["inline_cases"].as_array().unwrap() {
        let text = case["yaml"].as_str().unwrap();
        let config = Config::parse(text, Path::new("inline.yml"), &|_| None);
        let config = config.unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
        if let Some(extra) = case["check"]
            .as_str()
            .unwrap()
            .strip_prefix("effective extra_scrape_metrics == ")
        {
            let expected = extra == "True";
            assert_eq!(
                config.scrape_configs[0].extra_scrape_metrics, expected,
                "{}",
                case["id"]
            );
        }
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn external_labels_are_expanded_as_prometheus_does() {
    let cases = cases();
    let path = suite().join("testdata/external_labels.good.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    for case in cases["env_expansion"]["external_labels.good.yml"]
        .as_array()
        .unwrap()
    {
        let variable = |name: &str| case["env"][name].as_str().map(str::to_owned);
        let config = Config::parse(&text, &path, &variable).unwrap();
        for (name, value) in case["external_labels"].as_object().unwrap() {
            let found = config.external_labels.get(name).unwrap_or_default();
            assert_eq!(found, value, "{name}");
        }
    }
}

/// Prometheus' examples are files of their own; what a user of the AWS distribution
/// would paste is the Prometheus section of its collector's configuration, where
/// every `$` is written twice.
#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn real_world_files_are_accepted() {
    let (mut files, mut refused) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(suite().join("real")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // A template's variables are filled in before anyone reads it.
        let text = match path.extension() {
            Some(tpl) if tpl == "tpl" => text.replace("${", "").replace('}', ""),
            _ => text,
        };
        let sections = prometheus_sections(&text);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !sections.is_empty() || MANIFESTS.contains(&name.as_str()),
            "{name}"
        );
        for section in sections {
            match Config::parse(&section, &path, &|_| None) {
                Ok(_) => {}
                Err(error) => {
                    eprintln!("{error}");
                    refused.insert(name.clone());
                }
            }
        }
        files += 1;
    }
    assert_eq!(files, 36);
    let listed = REFUSED_BY_PROMETHEUS
        .iter()
        .map(|(name, _)| (*name).to_owned());
    assert_eq!(refused, listed.collect());
}

/// Published files that Prometheus refuses too, each with its mistake.
const REFUSED_BY_PROMETHEUS: [(&str, &str); 1] = [(
    "adot_config_eks_prometheus_config-haproxy.yaml",
    "a replace rule without a target_label",
)];

/// Kubernetes manifests without any scrape configuration inside.
const MANIFESTS: [&str; 2] = [
    "adot_deployment-template_eks_otel-container-insights-prometheus.yaml",
    "adot_examples_eks_aws-prometheus_prometheus-blackbox-exporter.yaml",
];

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
