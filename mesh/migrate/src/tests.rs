//! Whole translations.

use super::*;

fn input(name: &str, text: &str) -> Input {
    let (name, text) = (name.to_owned(), text.to_owned());
    Input { name, text }
}

fn notes(migration: &Migration) -> String {
    let notes = migration.notes.iter().map(|note| format!("{note}\n"));
    notes.collect()
}

const COMMAND: &str = "
services:
  vmagent:
    command:
    - -promscrape.config=/etc/scrape.yml
    - --remoteWrite.url=https://a.example.com/w
    - -remoteWrite.url=https://b.example.com/w
    - -remoteWrite.aws.useSigv4=true,false
    - -remoteWrite.aws.region=eu-west-1
    - -remoteWrite.label=env=prod
";

#[test]
fn reads_the_files_that_flags_name_once() {
    let scrape = "scrape_configs: [{job_name: node, metrics_path: %{URI}}]";
    let scrape = scrape.replace("%{URI}", "\"%{URI}\"");
    let inputs = [input("scrape.yml", &scrape), input("compose.yml", COMMAND)];
    let migration = migrate(&inputs, &|_| None).unwrap();
    assert_eq!(migration.prometheus.matches("job_name: node").count(), 1);
    let signed = "- sigv4:\n    region: eu-west-1\n  url: https://a.example.com/w\n";
    let unsigned = "- url: https://b.example.com/w\n";
    for part in [signed, unsigned, "honor_timestamps: false", "env: prod"] {
        assert!(
            migration.prometheus.contains(part),
            "{}",
            migration.prometheus
        );
    }
    assert!(
        notes(&migration).contains("placeholder {URI}"),
        "{}",
        notes(&migration)
    );
}

#[test]
fn never_shows_a_secret_in_a_note() {
    let text = "
scrape_configs: [{job_name: a, basic_auth: {username: u, password: TOPSECRET}}]
remote_write:
- url: https://WORKSPACE.example.com/w
  sigv4: {region: eu-west-1, access_key: AKIASECRET, secret_key: VERYSECRET}
";
    let migration = migrate(&[input("p.yml", text)], &|_| None).unwrap();
    assert!(migration.prometheus.contains("AKIASECRET"));
    let notes = notes(&migration);
    assert!(notes.contains("placeholder WORKSPACE"), "{notes}");
    assert!(!notes.contains("SECRET"), "{notes}");
}

#[test]
fn generates_the_jobs_of_monitors_that_a_prometheus_selects() {
    let text = "
kind: Prometheus
apiVersion: monitoring.coreos.com/v1
metadata: {namespace: team, name: k8s}
spec: {podMonitorSelector: {}, remoteWrite: [{url: \"https://a.example.com/w\", queueConfig: {maxShards: 3}}]}
---
kind: PodMonitor
apiVersion: monitoring.coreos.com/v1
metadata: {namespace: team, name: web}
spec: {selector: {}, podMetricsEndpoints: [{port: http}]}
---
kind: PodMonitor
apiVersion: monitoring.coreos.com/v1
metadata: {namespace: other, name: db}
spec: {selector: {}, podMetricsEndpoints: [{port: http}]}
";
    let migration = migrate(&[input("p.yml", text)], &|_| None).unwrap();
    assert!(
        migration
            .prometheus
            .contains("job_name: podMonitor/team/web/0")
    );
    assert!(migration.prometheus.contains("max_shards: 3"));
    assert!(!migration.prometheus.contains("other/db"));
    assert!(notes(&migration).contains("PodMonitor \"db\": left out"));
    assert!(
        !migration.values.contains("monitors:"),
        "{}",
        migration.values
    );
}

#[test]
fn names_the_line_of_a_template_within_a_resource() {
    let text = "
kind: OpenTelemetryCollector
spec:
  config: |
    receivers:
    {{ if job }}
      prometheus: {}
";
    let error = migrate(&[input("c.yaml", text)], &|_| None)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("c.yaml: line 6, \"{{ if job }}\""),
        "{error}"
    );
    assert!(error.contains("render it first"), "{error}");
}

#[test]
fn keeps_the_interval_of_a_second_receiver() {
    let text = "
receivers:
  prometheus: {config: {global: {scrape_interval: 15s, scrape_timeout: 12s}, scrape_configs: [{job_name: a}]}}
  prometheus/1: {config: {scrape_configs: [{job_name: a, scrape_interval: 5s}]}}
exporters: {debug: {}}
service: {pipelines: {metrics: {receivers: [prometheus, prometheus/1], exporters: [debug]}}}
";
    let migration = migrate(&[input("c.yaml", text)], &|_| None).unwrap();
    let second = "job_name: a-2\n  scrape_interval: 5s\n  scrape_timeout: 5s\n";
    assert!(
        migration.prometheus.contains(second),
        "{}",
        migration.prometheus
    );
}
