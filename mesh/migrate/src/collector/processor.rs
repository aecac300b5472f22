//! Processors of a pipeline that scrapes.

use serde_json::Value;

use super::type_of;
use crate::{
    notes::Notes,
    value::{list, text},
};

/// Names and values of constant labels.
type Labels = Vec<(String, String)>;

/// Translates a processor. Returns the labels that it adds, if it does only this.
pub(super) fn translate(id: &str, settings: &Value, notes: &mut Notes) -> Option<Labels> {
    let text = match type_of(id) {
        "attributes" => match constants(settings) {
            Some(labels) => return Some(labels),
            None => "changes attributes; write its actions as metric_relabel_configs",
        },
        "resource" => {
            "changes the resource, which reached target_info; with \
             resource_to_telemetry_conversion it also reached every series. Write what you \
             need as relabel_configs or external_labels"
        }
        "batch" => "not needed: the exporter of promesh combines requests",
        "memory_limiter" => "every limit of promesh has a flag; see docs/limits.md",
        "filter" => "drops series or targets; write its conditions as metric_relabel_configs",
        "metricstransform" | "transform" => {
            "changes names, labels or values; write renames as metric_relabel_configs, since \
             values cannot be changed"
        }
        "resourcedetection" | "k8sattributes" => {
            "adds resource attributes; write the labels you need as relabel_configs from \
             __meta_* labels, or as external_labels"
        }
        "cumulativetodelta" | "deltatorate" | "metricsgeneration" | "interval" => {
            "changes values; promesh stores samples as they are exposed"
        }
        _ => "no counterpart; its effect on series is lost",
    };
    notes.add(format!("processors.{id}"), text);
    None
}

/// Returns the labels if all actions set a constant.
fn constants(settings: &Value) -> Option<Labels> {
    if settings.as_object()?.len() > 1 {
        return None;
    }
    let actions = list(&settings["actions"]).iter().map(|action| {
        let sets = matches!(action["action"].as_str(), Some("upsert" | "insert"));
        let key = text(&action["key"]).filter(|_| sets)?;
        Some((key.replace('.', "_"), text(&action["value"])?))
    });
    actions.collect()
}
