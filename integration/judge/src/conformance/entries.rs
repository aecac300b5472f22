//! Entries of a parser, in the form of the golden files.

use receiver_svc::exposition::{
    AnyParser, Counts, Entry, Format, Histogram, ParseError, Parser, ParserOptions, Span,
};
use serde_json::{Map, Value, json};

use super::cases;

/// Parses a body into entries.
pub(super) fn of(
    format: Format,
    options: &ParserOptions,
    body: &[u8],
) -> Result<Vec<Value>, ParseError> {
    let mut parser = AnyParser::new(format, options, body);
    let mut entries = Vec::new();
    loop {
        let Some(entry) = parser.next()? else {
            return Ok(entries);
        };
        let is_sample = matches!(entry, Entry::Series(_) | Entry::Histogram(_));
        let mut row = self::entry(entry);
        if is_sample {
            complete(&mut parser, options, &mut row);
        }
        entries.push(Value::Object(row));
    }
}

/// Compares the entries of a body with a golden file.
pub(super) fn compare(
    format: Format,
    options: &ParserOptions,
    body: &[u8],
    golden: &[Value],
) -> Result<(), String> {
    let found = of(format, options, body).map_err(|error| error.to_string())?;
    let golden: Vec<_> = golden.iter().cloned().map(normal).collect();
    same(&found, &golden)
}

/// Compares two lists of entries.
pub(super) fn same(found: &[Value], golden: &[Value]) -> Result<(), String> {
    for (at, (found, golden)) in found.iter().zip(golden).enumerate() {
        if found != golden {
            return Err(format!("entry {at}: found {found}, expected {golden}"));
        }
    }
    match (found.len(), golden.len()) {
        (found, golden) if found == golden => Ok(()),
        (found, golden) => Err(format!("found {found} entries, expected {golden}")),
    }
}

/// Replaces each float by its bits, so that its format does not matter but each bit does.
pub(super) fn normal(golden: Value) -> Value {
    match golden {
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| match key.as_str() {
                    "labels" => (key, value),
                    "value" | "sum" | "zero_threshold" => (key, number(&value)),
                    "custom_values" | "positive_counts" | "negative_counts" => {
                        (key, cases::list(&value).iter().map(number).collect())
                    }
                    "count" | "zero_count" if value.is_string() => (key, number(&value)),
                    _ => (key, normal(value)),
                })
                .collect(),
        ),
        other => other,
    }
}

fn number(text: &Value) -> Value {
    bits(cases::float(text))
}

fn bits(value: f64) -> Value {
    json!(value.to_bits())
}

fn entry(entry: Entry<'_>) -> Map<String, Value> {
    let row = match entry {
        Entry::Help { metric, help } => json!({"entry": "help", "metric": metric, "help": help}),
        Entry::Type {
            metric,
            metric_type,
        } => {
            json!({"entry": "type", "metric": metric, "type": metric_type.as_str()})
        }
        Entry::Unit { metric, unit } => json!({"entry": "unit", "metric": metric, "unit": unit}),
        Entry::Comment(text) => {
            json!({"entry": "comment", "comment": String::from_utf8_lossy(text)})
        }
        Entry::Series(series) => with_time(
            json!({"entry": "series", "value": bits(series.value)}),
            series.timestamp,
        ),
        Entry::Histogram(series) => with_time(
            json!({"entry": "histogram", "histogram": histogram(&series.histogram)}),
            series.timestamp,
        ),
    };
    fields(row)
}

fn fields(row: Value) -> Map<String, Value> {
    match row {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Adds what the parser offers after a sample: labels, start timestamp and exemplars.
fn complete(parser: &mut AnyParser<'_>, options: &ParserOptions, row: &mut Map<String, Value>) {
    let mut labels = Vec::new();
    parser.labels(&mut labels);
    labels.sort();
    row.insert("labels".to_owned(), json!(labels));
    // The program that wrote the golden files read start timestamps only with this option.
    if options.start_timestamps
        && let Some(at) = parser.start_timestamp()
    {
        row.insert("start_timestamp_ms".to_owned(), json!(at));
    }
    let mut exemplars = Vec::new();
    while let Some(mut exemplar) = parser.exemplar() {
        exemplar.labels.sort();
        let row = json!({"labels": exemplar.labels, "value": bits(exemplar.value)});
        exemplars.push(with_time(row, exemplar.timestamp));
    }
    if !exemplars.is_empty() {
        row.insert("exemplars".to_owned(), json!(exemplars));
    }
}

fn with_time(mut row: Value, timestamp: Option<i64>) -> Value {
    if let Some(timestamp) = timestamp {
        row["timestamp_ms"] = json!(timestamp);
    }
    row
}

fn histogram(histogram: &Histogram) -> Value {
    let spans = |spans: &[Span]| -> Value {
        spans
            .iter()
            .map(|span| json!([span.offset, span.length]))
            .collect()
    };
    let floats = |floats: &[f64]| -> Value { floats.iter().copied().map(bits).collect() };
    let row = json!({
        "counter_reset_hint": if histogram.gauge { "gauge" } else { "unknown" },
        "custom_values": floats(&histogram.custom_values),
        "negative_spans": spans(&histogram.negative_spans),
        "positive_spans": spans(&histogram.positive_spans),
        "schema": histogram.schema,
        "sum": bits(histogram.sum),
        "zero_threshold": bits(histogram.zero_threshold),
    });
    let counts = match &histogram.counts {
        Counts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        } => json!({
            "kind": "int",
            "count": count,
            "zero_count": zero_count,
            "positive_deltas": positive_deltas,
            "negative_deltas": negative_deltas,
        }),
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => json!({
            "kind": "float",
            "count": bits(*count),
            "zero_count": bits(*zero_count),
            "positive_counts": floats(positive),
            "negative_counts": floats(negative),
        }),
    };
    let mut row = fields(row);
    row.extend(fields(counts));
    row.into()
}
