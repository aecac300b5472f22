//! OpenTelemetry Collector and ADOT.
//!
//! Jobs come from the `prometheus` receivers that a pipeline uses, destinations from the
//! exporters of the same pipelines. A pipeline without such a receiver is not a scrape.

mod exporter;
mod processor;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    notes::Notes,
    part::Part,
    placeholder,
    value::{at, entries, list, map_texts, text, texts},
};

/// Format that the Collector assumes for a target without a Content-Type.
const FALLBACK: &str = "PrometheusText0.0.4";

/// One metrics pipeline that scrapes.
struct Pipeline {
    receivers: Vec<String>,
    processors: Vec<String>,
    exporters: Vec<String>,
}

pub(crate) fn is_config(value: &Value) -> bool {
    value["receivers"].is_object()
        && (value["exporters"].is_object() || value["service"].is_object())
}

/// Returns the type of a component, such as `prometheus` of `prometheus/1`.
pub(super) fn type_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

/// Translates a Collector's configuration.
pub(crate) fn translate(config: &Value, notes: &mut Notes) -> Part {
    let mut config = config.clone();
    placeholder::unflow(&mut config);
    map_texts(&mut config, &expand);
    let pipelines = pipelines(&config, notes);
    let mut part = Part::default();
    let receivers = ids(pipelines.iter().flat_map(|pipeline| &pipeline.receivers));
    for id in receivers {
        let receiver = &config["receivers"][id];
        let source = receiver_part(id, receiver, notes);
        part.join(source, notes);
    }
    for id in ids(pipelines.iter().flat_map(|pipeline| &pipeline.processors)) {
        let settings = &config["processors"][id];
        let labels = processor::translate(id, settings, notes);
        let everywhere = pipelines
            .iter()
            .all(|pipeline| pipeline.processors.contains(id));
        match labels {
            Some(labels) if everywhere => {
                for (name, value) in labels {
                    part.external_label(&name, json!(value));
                }
                let text = "its constant attributes became external_labels, which do not \
                            overwrite a label that the target exposes";
                notes.add(format!("processors.{id}"), text);
            }
            Some(_) => {
                let text = "sets constant attributes in some pipelines only; write them as \
                            relabel_configs of the jobs of these pipelines";
                notes.add(format!("processors.{id}"), text);
            }
            None => {}
        }
    }
    for id in ids(pipelines.iter().flat_map(|pipeline| &pipeline.exporters)) {
        exporter::translate(id, &config, &mut part, notes);
    }
    for (id, _) in entries(&config["extensions"]) {
        extension(id, notes);
    }
    if !at(&config, &["service", "telemetry"]).is_null() {
        let text = "promesh has its own metrics at /metrics of each service's admin port";
        notes.add("service.telemetry", text);
    }
    if !part.jobs.is_empty() {
        general_notes(notes);
    }
    part
}

/// Replaces the escape `$$`, and variables that have a default.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let body = rest.strip_prefix('{').and_then(|body| body.split_once('}'));
        match body.map(|(body, after)| (body.split_once(":-"), after)) {
            Some((Some((_, default)), after)) => {
                out.push_str(default);
                rest = after;
            }
            _ => out.push('$'),
        }
    }
    out + rest
}

/// Returns the pipelines that scrape. Notes the others.
fn pipelines(config: &Value, notes: &mut Notes) -> Vec<Pipeline> {
    let mut found = Vec::new();
    for (id, pipeline) in entries(at(config, &["service", "pipelines"])) {
        let (scrapes, others): (Vec<_>, Vec<_>) = texts(&pipeline["receivers"])
            .into_iter()
            .partition(|receiver| type_of(receiver) == "prometheus");
        for receiver in &others {
            let text = match type_of(receiver) {
                "otlp" => "clients push to a promesh gateway; see docs/sdk.md",
                _ => "is no scrape of Prometheus metrics; keep a Collector for it",
            };
            notes.add(format!("receivers.{receiver} (pipeline {id})"), text);
        }
        let [processors, exporters] = ["processors", "exporters"].map(|key| texts(&pipeline[key]));
        if scrapes.is_empty() {
            let used: Vec<_> = processors.iter().chain(&exporters).cloned().collect();
            let used = used.join(", ");
            let text = format!("not translated, with what it uses: {used}");
            notes.add(format!("service.pipelines.{id}"), text);
            continue;
        }
        found.push(Pipeline {
            receivers: scrapes,
            processors,
            exporters,
        });
    }
    found
}

/// Returns each of the names once.
fn ids<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

/// Reads the jobs of one `prometheus` receiver.
fn receiver_part(id: &str, receiver: &Value, notes: &mut Notes) -> Part {
    for (key, value) in entries(receiver) {
        let place = format!("receivers.{id}.{key}");
        match key.as_str() {
            "config" => {}
            "target_allocator" => notes.add(
                place,
                "the target allocator decides what is scraped: add its scrape_configs, and \
                 read ServiceMonitor and PodMonitor objects with --monitors.cluster; \
                 receivers share targets by themselves",
            ),
            "trim_metric_suffixes" if value == &json!(true) => {
                notes.add(place, "promesh stores names as they are exposed");
            }
            _ => notes.add(place, "no counterpart"),
        }
    }
    let mut part = Part::of_file(&receiver["config"]);
    for job in part.jobs.iter_mut().filter_map(Value::as_object_mut) {
        job.entry("fallback_scrape_protocol")
            .or_insert(json!(FALLBACK));
    }
    part
}

fn extension(id: &str, notes: &mut Notes) {
    let text = match type_of(id) {
        "sigv4auth" | "basicauth" | "bearertokenauth" | "oauth2client" => return,
        "ecs_observer" => {
            "wrote the target file that a job reads; run another program that writes it, \
             since promesh has no discovery of ECS tasks"
        }
        "health_check" | "pprof" | "zpages" => "promesh has /-/healthy and /-/ready",
        "file_storage" => "the outbox of receivers replaces it (--outbox.spill-dir)",
        _ => "no counterpart",
    };
    notes.add(format!("extensions.{id}"), text);
}

/// Adds what changes with every migration from a Collector.
fn general_notes(notes: &mut Notes) {
    let text = "the Collector appended _total to counters and units to names \
                (add_metric_suffixes); promesh stores names as they are exposed, so \
                dashboards may need the shorter names";
    notes.add("metric names: suffix", text);
    let text = "the Collector wrote target_info, and recent versions otel_scope_* labels; \
                promesh writes neither for scraped targets";
    notes.add("target_info", text);
    let text = "fallback_scrape_protocol is set, since the Collector accepts a target without \
                Content-Type as this format";
    notes.add("fallback_scrape_protocol", text);
}

/// Translates an OpenTelemetryCollector resource.
pub(crate) fn resource(object: &Value, config: &Value, notes: &mut Notes) -> Part {
    let mode = text(at(object, &["spec", "mode"])).unwrap_or_default();
    if mode == "daemonset" {
        let text = "mode daemonset: each Collector scraped every target that its rules keep; \
                    promesh scrapes each target once";
        notes.add("OpenTelemetryCollector (DaemonSet)", text);
    }
    if at(object, &["spec", "targetAllocator", "enabled"]) == &json!(true) {
        let text = "receivers share targets by themselves";
        notes.add("spec.targetAllocator", text);
    }
    let crs = at(
        object,
        &["spec", "targetAllocator", "prometheusCR", "enabled"],
    );
    let mut part = translate(config, notes);
    if crs == &json!(true) {
        part.monitors = true;
        let text = "ServiceMonitor and PodMonitor objects are read with --monitors.cluster; \
                    the chart values enable it";
        notes.add("spec.targetAllocator.prometheusCR", text);
    }
    // A value may be a secret, so only the name is shown.
    for variable in list(at(object, &["spec", "env"])) {
        if let Some(name) = text(&variable["name"]) {
            notes.add(
                format!("spec.env.{name}"),
                "a variable of the Collector's container",
            );
        }
    }
    part
}
