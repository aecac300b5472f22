//! Common form of found and expected samples.

use receiver_svc::{
    exposition::{Counts as HistogramCounts, Exemplar, Histogram, Span},
    scrape::{SampleValue, SampleView},
};
use serde_json::{Value, json};

use crate::conformance::cases;

fn bits(number: &Value) -> u64 {
    cases::float(number).to_bits()
}

/// Converts a found sample.
pub(super) fn event(sample: &SampleView<'_>, v2: bool) -> Value {
    let mut event = json!({
        "labels": sample.labels(),
        "t": sample.time_ms(),
        "exemplars": sample.exemplars.iter().map(exemplar).collect::<Vec<_>>(),
    });
    if v2 {
        event["st"] = json!(sample.start_ms());
    }
    match sample.value() {
        SampleValue::Histogram(value) => event["histogram"] = histogram(value),
        value => event["value"] = json!(value.as_float().map(f64::to_bits)),
    }
    event
}

fn exemplar(exemplar: &Exemplar) -> Value {
    json!({
        "labels": exemplar.labels,
        "value": exemplar.value.to_bits(),
        "timestamp_ms": exemplar.timestamp,
    })
}

fn histogram(histogram: &Histogram) -> Value {
    let spans = |spans: &[Span]| -> Vec<_> {
        spans
            .iter()
            .map(|span| (span.offset, span.length))
            .collect()
    };
    let bits = |values: &[f64]| -> Vec<_> { values.iter().map(|v| v.to_bits()).collect() };
    let mut row = json!({
        "schema": histogram.schema,
        "sum": histogram.sum.to_bits(),
        "zero_threshold": histogram.zero_threshold.to_bits(),
        "custom_values": bits(&histogram.custom_values),
        "positive_spans": spans(&histogram.positive_spans),
        "negative_spans": spans(&histogram.negative_spans),
        "counter_reset_hint": if histogram.gauge { "gauge" } else { "unknown" },
    });
    match &histogram.counts {
        HistogramCounts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        } => {
            row["kind"] = json!("int");
            row["count"] = json!(count);
            row["zero_count"] = json!(zero_count);
            row["positive_deltas"] = json!(positive_deltas);
            row["negative_deltas"] = json!(negative_deltas);
        }
        HistogramCounts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            row["kind"] = json!("float");
            row["count"] = json!(count.to_bits());
            row["zero_count"] = json!(zero_count.to_bits());
            row["positive_counts"] = json!(bits(positive));
            row["negative_counts"] = json!(bits(negative));
        }
    }
    row
}

/// Converts the accepted samples of a row to the form of [`event`].
pub(super) fn expected(row: &Value) -> Vec<Value> {
    let v2 = row["appender"] == "v2";
    let mut samples: Vec<Value> = Vec::new();
    for event in cases::list(&row["events"]) {
        if !event["append_error"].is_null() {
            continue;
        }
        match (cases::text(&event["op"]), samples.last_mut()) {
            ("append" | "append_histogram", _) => samples.push(expected_sample(event, v2)),
            ("exemplar", Some(last)) => {
                let exemplars = cases::list(&event["exemplar"]).iter();
                let exemplars: Vec<_> = exemplars
                    .map(|exemplar| expected_exemplar(exemplar, &last["t"]))
                    .collect();
                if let Some(all) = last["exemplars"].as_array_mut() {
                    all.extend(exemplars);
                }
            }
            _ => {}
        }
    }
    samples
}

fn expected_sample(event: &Value, v2: bool) -> Value {
    let exemplars = cases::list(&event["exemplars"]).iter();
    let mut sample = json!({
        "labels": event["labels"],
        "t": event["t"],
        "exemplars": exemplars
            .map(|exemplar| expected_exemplar(exemplar, &event["t"]))
            .collect::<Vec<_>>(),
    });
    if v2 {
        sample["st"] = event["st"].clone();
    }
    if event["histogram"].is_null() {
        sample["value"] = json!(bits(&event["value"]));
    } else {
        sample["histogram"] = expected_histogram(&event["histogram"]);
    }
    sample
}

/// Converts an exemplar. Its default timestamp is that of the sample.
fn expected_exemplar(exemplar: &Value, time: &Value) -> Value {
    let own = Some(&exemplar["timestamp_ms"]).filter(|time| !time.is_null());
    json!({
        "labels": exemplar["labels"],
        "value": bits(&exemplar["value"]),
        "timestamp_ms": own.unwrap_or(time),
    })
}

fn expected_histogram(histogram: &Value) -> Value {
    let fields = histogram.as_object().into_iter().flatten();
    let fields = fields.map(|(key, value)| {
        let value = match (key.as_str(), value) {
            ("sum" | "zero_threshold" | "count" | "zero_count", Value::String(_)) => {
                json!(bits(value))
            }
            ("custom_values" | "positive_counts" | "negative_counts", Value::Array(items)) => {
                items.iter().map(bits).collect()
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(fields.collect())
}
