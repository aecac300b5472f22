//! Converts attribute values to label values.
//!
//! The text is the one of the OpenTelemetry specification ("AnyValue representation for
//! non-OTLP protocols").

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

/// Text of an attribute's value: a string as it is, bytes as base64, any other type as
/// JSON. NaN and infinities are `NaN`, `Infinity` and `-Infinity` without quotes.
pub fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        // The last variant is an index into a table that only profiles have.
        None | Some(Value::StringValueStrindex(_)) => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes),
        Some(Value::DoubleValue(value)) => number(*value),
        Some(value) => json(value),
    }
}

/// JSON of a value. JSON has no number for NaN and infinities, so they are strings.
fn json(value: &Value) -> String {
    match value {
        Value::StringValue(text) => quoted(text),
        Value::BytesValue(bytes) => quoted(&STANDARD.encode(bytes)),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) if value.is_finite() => number(*value),
        Value::DoubleValue(value) => quoted(&number(*value)),
        Value::StringValueStrindex(_) => "null".to_owned(),
        Value::ArrayValue(array) => {
            let items: Vec<_> = array
                .values
                .iter()
                .map(|item| json_or_null(Some(item)))
                .collect();
            format!("[{}]", items.join(","))
        }
        Value::KvlistValue(list) => object(&list.values),
    }
}

/// JSON object with sorted keys; the last value of a duplicate key wins.
fn object(pairs: &[KeyValue]) -> String {
    let sorted: BTreeMap<_, _> = pairs
        .iter()
        .map(|kv| (&kv.key, kv.value.as_ref()))
        .collect();
    let members: Vec<_> = sorted
        .into_iter()
        .map(|(key, value)| format!("{}:{}", quoted(key), json_or_null(value)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn json_or_null(value: Option<&AnyValue>) -> String {
    let value = value.and_then(|value| value.value.as_ref());
    value.map_or_else(|| "null".to_owned(), json)
}

/// Formats a number as ECMAScript and Go's JSON do: no fraction if it is integral, an
/// exponent if it is very small or very large.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == f64::INFINITY {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return mesh_wire::float::plain(value);
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => {
            format!("{mantissa}e+{exponent}")
        }
        _ => scientific,
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(any(value)),
            ..Default::default()
        }
    }

    #[test]
    fn formats_every_value_type() {
        let is = |value, want: &str| assert_eq!(text(Some(&any(value))), want);
        is(Value::StringValue("a \"b\"".to_owned()), "a \"b\"");
        is(Value::BoolValue(true), "true");
        is(Value::IntValue(-7), "-7");
        is(Value::DoubleValue(1.0), "1");
        is(Value::DoubleValue(0.25), "0.25");
        is(Value::DoubleValue(1e21), "1e+21");
        is(Value::DoubleValue(1.5e-7), "1.5e-7");
        is(Value::BytesValue(vec![1, 2, 255]), "AQL/");
        let values = vec![any(Value::StringValue("x".to_owned())), AnyValue::default()];
        is(Value::ArrayValue(ArrayValue { values }), r#"["x",null]"#);
        let values = vec![
            pair("b", Value::IntValue(1)),
            pair("a", Value::BoolValue(false)),
        ];
        is(
            Value::KvlistValue(KeyValueList { values }),
            r#"{"a":false,"b":1}"#,
        );
    }

    #[test]
    fn writes_numbers_that_json_lacks_as_the_specification_does() {
        for (value, want) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let value = any(Value::DoubleValue(value));
            assert_eq!(text(Some(&value)), want);
            let quoted = format!("\"{want}\"");
            let array = Value::ArrayValue(ArrayValue {
                values: vec![value.clone()],
            });
            assert_eq!(text(Some(&any(array))), format!("[{quoted}]"));
            let map = Value::KvlistValue(KeyValueList {
                values: vec![KeyValue {
                    value: Some(value),
                    ..pair("k", Value::BoolValue(true))
                }],
            });
            let nested = Value::ArrayValue(ArrayValue {
                values: vec![any(map)],
            });
            assert_eq!(text(Some(&any(nested))), format!("[{{\"k\":{quoted}}}]"));
        }
    }

    #[test]
    fn nested_values_are_json() {
        let values = vec![
            any(Value::BytesValue(vec![0xfb])),
            any(Value::StringValue("a\"\n<é".to_owned())),
            any(Value::IntValue(i64::MAX)),
            any(Value::DoubleValue(1e21)),
            any(Value::ArrayValue(ArrayValue::default())),
            any(Value::KvlistValue(KeyValueList::default())),
        ];
        let array = any(Value::ArrayValue(ArrayValue { values }));
        assert_eq!(
            text(Some(&array)),
            r#"["+w==","a\"\n<é",9223372036854775807,1e+21,[],{}]"#
        );
    }

    #[test]
    fn formats_a_missing_value_as_empty() {
        assert_eq!(text(None), "");
        assert_eq!(text(Some(&AnyValue::default())), "");
    }
}
