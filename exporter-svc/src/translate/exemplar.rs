//! Translates OTLP exemplars to Prometheus exemplars.

use mesh_model::labels::LabelsBuilder;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar};
use proto::v1;

use super::labels;

/// Maximum number of characters in an exemplar's label names and values together
/// (OpenMetrics 1.0, "Exemplars").
const MAX_CHARACTERS: usize = 128;
/// Label names of the trace and span IDs.
const TRACE_ID: &str = "trace_id";
const SPAN_ID: &str = "span_id";

/// Translates the exemplars of a data point and sorts them by time, since backends drop
/// an exemplar that is older than the one before it.
///
/// Skips exemplars without a value.
pub fn translate_all(exemplars: &[Exemplar]) -> Vec<v1::Exemplar> {
    let mut translated: Vec<_> = exemplars.iter().filter_map(translate).collect();
    // Prometheus breaks ties by value and labels.
    translated.sort_by(|a, b| {
        let by_time = a.timestamp.cmp(&b.timestamp);
        by_time
            .then_with(|| a.value.total_cmp(&b.value))
            .then_with(|| pairs(a).cmp(pairs(b)))
    });
    translated
}

/// Translates an exemplar. Keeps the trace and span IDs, and drops the filtered
/// attributes if they exceed the limit of OpenMetrics.
fn translate(exemplar: &Exemplar) -> Option<v1::Exemplar> {
    let value = match exemplar.value? {
        exemplar::Value::AsDouble(value) => value,
        exemplar::Value::AsInt(value) => value as f64,
    };
    Some(v1::Exemplar {
        labels: exemplar_labels(exemplar),
        value,
        timestamp: (exemplar.time_unix_nano / 1_000_000) as i64,
    })
}

fn exemplar_labels(exemplar: &Exemplar) -> Vec<v1::Label> {
    let mut own = LabelsBuilder::default();
    for (name, id) in [(TRACE_ID, &exemplar.trace_id), (SPAN_ID, &exemplar.span_id)] {
        if id.iter().any(|&byte| byte != 0) {
            own.set(name, hex(id));
        }
    }
    let mut all = own.clone();
    for pair in &exemplar.filtered_attributes {
        // An attribute must not replace an ID, and a label needs a name.
        if own.get(&pair.key).is_none() && !pair.key.is_empty() {
            all.set(&*pair.key, labels::text(pair.value.as_ref()));
        }
    }
    let labels = match characters(&all) {
        0..=MAX_CHARACTERS => all,
        _ => own,
    };
    let labels = labels.iter().map(|(name, value)| v1::Label {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    labels.collect()
}

fn characters(labels: &LabelsBuilder) -> usize {
    let lengths = labels.iter().flat_map(|(name, value)| [name, value]);
    lengths.map(|text| text.chars().count()).sum()
}

fn pairs(exemplar: &v1::Exemplar) -> impl Iterator<Item = (&str, &str)> {
    let labels = exemplar.labels.iter();
    labels.map(|label| (&*label.name, &*label.value))
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

    fn translate(exemplar: &Exemplar) -> v1::Exemplar {
        super::translate(exemplar).unwrap()
    }

    #[test]
    fn sorts_exemplars_by_time() {
        let at = |millis: u64, value: f64| Exemplar {
            time_unix_nano: millis * 1_000_000,
            value: Some(exemplar::Value::AsDouble(value)),
            ..exemplar("x")
        };
        let without_value = Exemplar {
            value: None,
            ..exemplar("x")
        };
        let all = [
            at(3, 1.0),
            at(0, 5.0),
            at(1, 7.0),
            at(3, 0.5),
            without_value,
        ];
        let translated = translate_all(&all);
        let found: Vec<_> = translated.iter().map(|e| (e.timestamp, e.value)).collect();
        assert_eq!(found, [(0, 5.0), (1, 7.0), (3, 0.5), (3, 1.0)]);
    }

    #[test]
    fn filtered_attributes_do_not_replace_ids() {
        let mut exemplar = exemplar("u");
        let mut named = |key: &str| {
            let mut pair = exemplar.filtered_attributes[0].clone();
            pair.key = key.to_owned();
            exemplar.filtered_attributes.push(pair);
        };
        named("trace_id");
        named("span_id");
        named("");
        let translated = translate(&exemplar);
        let values: Vec<_> = translated.labels.iter().map(|l| &*l.value).collect();
        assert_eq!(names(&translated), ["span_id", "trace_id", "user"]);
        assert_eq!(values, ["00ab", "cd", "u"]);
        exemplar.trace_id = vec![0; 16];
        assert_eq!(translate(&exemplar).labels[1].value, "u");
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
