//! Translates OTLP exemplars to Prometheus exemplars.

use mesh_model::labels::Labels;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar};
use proto::v1;

use super::labels;

/// Maximum number of characters in an exemplar's label names and values together
/// (OpenMetrics 1.0, "Exemplars").
const MAX_CHARACTERS: usize = 128;

/// Translates an exemplar. Keeps the trace and span IDs, and drops the filtered
/// attributes if they exceed the limit of OpenMetrics.
pub fn translate(exemplar: &Exemplar) -> v1::Exemplar {
    let value = match exemplar.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    v1::Exemplar {
        labels: exemplar_labels(exemplar),
        value,
        timestamp: (exemplar.time_unix_nano / 1_000_000) as i64,
    }
}

fn exemplar_labels(exemplar: &Exemplar) -> Vec<v1::Label> {
    let ids = [
        ("trace_id", &exemplar.trace_id),
        ("span_id", &exemplar.span_id),
    ];
    let mut pairs: Vec<_> = ids
        .into_iter()
        .filter(|(_, id)| id.iter().any(|&byte| byte != 0))
        .map(|(name, id)| (name.to_owned(), hex(id)))
        .collect();
    let attributes: Vec<_> = exemplar
        .filtered_attributes
        .iter()
        .map(|kv| (kv.key.clone(), labels::text(kv.value.as_ref())))
        .collect();
    let characters =
        |(name, value): &(String, String)| name.chars().count() + value.chars().count();
    if pairs
        .iter()
        .chain(&attributes)
        .map(characters)
        .sum::<usize>()
        <= MAX_CHARACTERS
    {
        pairs.extend(attributes);
    }
    pairs
        .into_iter()
        .collect::<Labels>()
        .iter()
        .map(|(name, value)| v1::Label {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

    use super::*;

    fn exemplar(filtered: &str) -> Exemplar {
        Exemplar {
            filtered_attributes: vec![KeyValue {
                key: "user".to_owned(),
                value: Some(AnyValue {
                    value: Some(any_value::Value::StringValue(filtered.to_owned())),
                }),
                ..Default::default()
            }],
            time_unix_nano: 1_500_000_000,
            span_id: vec![0, 0xab],
            trace_id: vec![0xcd],
            value: Some(exemplar::Value::AsInt(3)),
        }
    }

    fn names(exemplar: &v1::Exemplar) -> Vec<&str> {
        exemplar.labels.iter().map(|l| l.name.as_str()).collect()
    }

    #[test]
    fn sorts_labels_and_encodes_ids_as_hex() {
        let translated = translate(&exemplar("x"));
        assert_eq!(names(&translated), ["span_id", "trace_id", "user"]);
        assert_eq!(translated.labels[0].value, "00ab");
        assert_eq!((translated.value, translated.timestamp), (3.0, 1500));
    }

    #[test]
    fn drops_attributes_beyond_the_limit() {
        assert_eq!(names(&translate(&exemplar(&"é".repeat(103)))).len(), 3);
        assert_eq!(
            names(&translate(&exemplar(&"é".repeat(104)))),
            ["span_id", "trace_id"]
        );
    }
}
