//! Measures relabeling rules, compared to a copy of the label set that they apply to.
//!
//! `cargo bench -p mesh-model --bench relabel`

use divan::{Bencher, Divan, black_box};
use mesh_model::{
    config::relabel::{Action, RelabelConfig},
    go_regexp::Regexp,
    labels::Labels,
    relabel::relabel,
};

fn main() {
    // Many runs per sample: a rule applies to all series of a scrape, not to one.
    Divan::default().sample_size(1000).config_with_args().main();
}

/// Returns a series as a kubelet exposes it.
fn series() -> Labels {
    [
        ("__name__", "container_cpu_usage_seconds_total"),
        ("container", "api"),
        ("cpu", "total"),
        ("id", "/kubepods/burstable/pod0f1c/3a5d"),
        ("namespace", "shop"),
        ("pod", "api-6f7c9d5b4-x2x7k"),
    ]
    .into_iter()
    .collect()
}

fn rule(action: Action, source: &str, regex: &str) -> RelabelConfig {
    RelabelConfig {
        action,
        source_labels: vec![source.to_owned()],
        regex: regex.parse().expect("a valid expression"),
        ..RelabelConfig::default()
    }
}

fn apply(bencher: Bencher<'_, '_>, config: RelabelConfig) {
    let configs = [config];
    bencher
        .with_inputs(|| series().to_builder())
        .bench_local_refs(|labels| relabel(black_box(&configs), labels));
}

#[divan::bench]
fn copy_the_set(bencher: Bencher<'_, '_>) {
    let labels = series();
    bencher.bench_local(|| black_box(&labels).to_builder());
}

#[divan::bench]
fn drop_one_name(bencher: Bencher<'_, '_>) {
    apply(bencher, rule(Action::Drop, "__name__", "kube_pod_info"));
}

#[divan::bench]
fn keep_one_name(bencher: Bencher<'_, '_>) {
    let name = "container_cpu_usage_seconds_total";
    apply(bencher, rule(Action::Keep, "__name__", name));
}

#[divan::bench]
fn drop_some_names(bencher: Bencher<'_, '_>) {
    let names = "container_(network_tcp_usage_total|tasks_state|memory_failures_total)|go_.*";
    apply(bencher, rule(Action::Drop, "__name__", names));
}

#[divan::bench]
fn copy_a_label(bencher: Bencher<'_, '_>) {
    let config = RelabelConfig {
        regex: Regexp::default(),
        target_label: "kubernetes_pod".to_owned(),
        ..rule(Action::Replace, "pod", "")
    };
    apply(bencher, config);
}

#[divan::bench]
fn replace_by_a_group(bencher: Bencher<'_, '_>) {
    let config = RelabelConfig {
        target_label: "deployment".to_owned(),
        ..rule(Action::Replace, "pod", "(.+)-[0-9a-f]+-[0-9a-z]{5}")
    };
    apply(bencher, config);
}

#[divan::bench]
fn labeldrop_one(bencher: Bencher<'_, '_>) {
    apply(bencher, rule(Action::LabelDrop, "", "id|image"));
}
