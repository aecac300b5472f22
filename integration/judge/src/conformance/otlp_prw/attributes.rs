//! Labels of a data point.

use std::path::Path;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};
use serde_json::Value;

use super::{labels, rules, series, translate};
use crate::conformance::{Report, cases};

pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let rows = cases::rows(&suites.join("otlp_prw/create_attributes.jsonl"))?;
    for (i, row) in rows.iter().enumerate() {
        report.case(format!("row {i}"), || {
            let translated = translate(&push(row), rules(&row["settings"]))?;
            let series = series(&translated)?;
            let found = series.first().map(|series| labels(&series.labels));
            cases::same(&found, &Some(cases::labels(&row["expected_labels"])))
        });
    }
    Ok(())
}

/// Request with one data point with a row's attributes.
fn push(row: &Value) -> ExportMetricsServiceRequest {
    let resource = Resource {
        attributes: attributes(&row["resource_attributes"]),
        ..Default::default()
    };
    let metrics = ScopeMetrics {
        scope: Some(scope(&row["scope"])),
        metrics: vec![metric(row)],
        schema_url: cases::text(&row["scope"]["schema_url"]).to_owned(),
    };
    let metrics = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![metrics],
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![metrics],
    }
}

fn scope(scope: &Value) -> InstrumentationScope {
    InstrumentationScope {
        name: cases::text(&scope["name"]).to_owned(),
        version: cases::text(&scope["version"]).to_owned(),
        attributes: attributes(&scope["attributes"]),
        ..Default::default()
    }
}

fn metric(row: &Value) -> Metric {
    let ignored = cases::texts(&row["ignore_datapoint_attributes"]);
    let mut attributes = attributes(&row["datapoint_attributes"]);
    attributes.retain(|pair| !ignored.contains(&pair.key));
    let point = NumberDataPoint {
        attributes,
        value: Some(number_data_point::Value::AsInt(1)),
        ..Default::default()
    };
    Metric {
        name: cases::text(&row["metric_name"]).to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Default::default()
    }
}

fn attributes(pairs: &Value) -> Vec<KeyValue> {
    let value = |text: &Value| AnyValue {
        value: Some(any_value::Value::StringValue(cases::text(text).to_owned())),
    };
    let pair = |(key, text): (&String, &Value)| KeyValue {
        key: key.clone(),
        value: Some(value(text)),
        ..Default::default()
    };
    pairs.as_object().into_iter().flatten().map(pair).collect()
}
