//! Translation of OTLP, compared with Prometheus's OTLP endpoint and with the OpenTelemetry
//! Collector.

use std::sync::Arc;

use bytes::Bytes;
use exporter_svc::{
    remote_write::part::RequestLimits,
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{Capabilities, NativeHistograms, Translated},
    },
};
use mesh_contract::batch::{BatchContext, Origin};
use mesh_model::{
    config::remote_write::{OtlpConfig, TranslationStrategy as Strategy},
    labels::Labels,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
};
use prost::Message;
use proto::v1;
use serde_json::Value;

use super::cases;

pub(super) mod attributes;
pub(super) mod collector;
pub(super) mod native;
pub(super) mod prometheus;

/// OTLP request of a row.
fn request(row: &Value) -> Result<ExportMetricsServiceRequest, String> {
    serde_json::from_value(row["otlp"].clone()).map_err(|error| error.to_string())
}

/// OTLP settings of a row.
fn rules(settings: &Value) -> OtlpConfig {
    let flag = |name: &str| settings[name].as_bool().unwrap_or(false);
    let case_unless_exempt = cases::texts(&settings["promote_or_ignore_resource_attributes"]);
    let promote_all = flag("promote_all_resource_attributes");
    let (ignored, promoted) = if promote_all {
        (case_unless_exempt, Vec::new())
    } else {
        (Vec::new(), case_unless_exempt)
    };
    OtlpConfig {
        promote_resource_attributes: promoted,
        promote_all_resource_attributes: promote_all,
        ignore_resource_attributes: ignored,
        translation_strategy: match (flag("allow_utf8"), flag("add_metric_suffixes")) {
            (false, true) => Strategy::UnderscoreEscapingWithSuffixes,
            (false, false) => Strategy::UnderscoreEscapingWithoutSuffixes,
            (true, true) => Strategy::NoUtf8EscapingWithSuffixes,
            (true, false) => Strategy::NoTranslation,
        },
        keep_identifying_resource_attributes: flag("keep_identifying_resource_attributes"),
        convert_histograms_to_nhcb: flag("convert_histograms_to_nhcb"),
        promote_scope_metadata: flag("promote_scope_metadata"),
        label_name_underscore_sanitization: flag("label_name_underscore_sanitization"),
        label_name_preserve_multiple_underscores: flag("label_name_preserve_multiple_underscores"),
    }
}

/// Translates a request.
fn translate(
    request: &ExportMetricsServiceRequest,
    rules: OtlpConfig,
) -> Result<Translated, String> {
    let capabilities = Capabilities {
        native_histograms: NativeHistograms::All,
        // The suites hold what Prometheus translates. Its storage, which refuses
        // inconsistent histograms, comes after that.
        inconsistent_histograms: true,
        exemplars: true,
        families: true,
        limits: RequestLimits {
            series: 100_000,
            bytes: 1 << 24,
        },
        max_age: None,
    };
    let translator = Translator::new(capabilities, Arc::new([]), OtlpRules::new(rules), 0);
    let context = BatchContext {
        origin: Origin::Otlp,
        ..Default::default()
    };
    let resources = request.resource_metrics.iter();
    let resources: Vec<_> = resources.map(|r| Bytes::from(r.encode_to_vec())).collect();
    let translated = translator.translate(&Arc::new(context), &resources);
    translated.map_err(|error| error.to_string())
}

/// Translates one metric with the default settings.
pub(super) fn translate_metric(metric: Metric) -> Result<Translated, String> {
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    translate(&request, OtlpConfig::default())
}

/// Decodes all translated series.
fn series(translated: &Translated) -> Result<Vec<v1::TimeSeries>, String> {
    let encoded = translated.parts.iter().flat_map(|part| part.series());
    let series = encoded.map(|(bytes, _)| v1::TimeSeries::decode(bytes));
    let series: Result<_, _> = series.collect();
    series.map_err(|error| error.to_string())
}

fn labels(labels: &[v1::Label]) -> Labels {
    let pairs = labels.iter();
    pairs.map(|label| (&*label.name, &*label.value)).collect()
}

/// Reads a list of pairs of name and value.
fn label_pairs(pairs: &Value) -> Labels {
    let pairs = cases::list(pairs).iter();
    pairs
        .map(|pair| (cases::text(&pair[0]), cases::text(&pair[1])))
        .collect()
}

/// Formats a float such that all bits are visible.
fn float(value: f64) -> String {
    if value.is_nan() {
        format!("NaN:{:#x}", value.to_bits())
    } else {
        value.to_string()
    }
}
