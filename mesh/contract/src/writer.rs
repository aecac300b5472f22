//! The writer of a batch, for log lines: a target, or a client of the gateway.

use mesh_wire::protobuf::{Fields, WireError};

/// Maximum length of a value in bytes. Longer ones are cut.
const MAX_VALUE_BYTES: usize = 200;
/// Attributes that name a writer, as OTLP has them and as the labels are called.
const NAMES: [(&str, &str); 3] = [
    ("service.namespace", "namespace"),
    ("service.name", "job"),
    ("service.instance.id", "instance"),
];

/// Describes the writer of a batch by the attributes of its resource. Reads only the resource,
/// as the batch may be what kills its readers.
pub fn describe(payload: &[u8]) -> String {
    let found = attributes(payload).unwrap_or_default();
    let parts = NAMES.iter().filter_map(|(attribute, label)| {
        let (_, value) = found.iter().find(|(key, _)| key == attribute)?;
        Some(format!("{label}={:?}", cut(value)))
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        "unknown".to_owned()
    } else {
        parts.join(" ")
    }
}

/// Text attributes of the first resource.
fn attributes(payload: &[u8]) -> Result<Vec<(&str, &str)>, WireError> {
    let mut found = Vec::new();
    let Some(metrics) = Fields::new(payload).next_with_number(1)? else {
        return Ok(found);
    };
    let Some(resource) = metrics.fields()?.next_with_number(1)? else {
        return Ok(found);
    };
    let mut resource = resource.fields()?;
    while let Some(attribute) = resource.next_with_number(1)? {
        let (mut key, mut value) = (attribute.fields()?, attribute.fields()?);
        let (Some(key), Some(value)) = (key.next_with_number(1)?, value.next_with_number(2)?)
        else {
            continue;
        };
        if let Some(text) = value.fields()?.next_with_number(1)? {
            found.push((key.text()?, text.text()?));
        }
    }
    Ok(found)
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_VALUE_BYTES)]
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value::Value},
        metrics::v1::ResourceMetrics,
        resource::v1::Resource,
    };
    use prost::Message;

    use super::*;
    use crate::batch::Batch;

    fn payload(attributes: &[(&str, &str)]) -> Vec<u8> {
        let attributes = attributes.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue((*value).to_owned())),
            }),
            ..Default::default()
        });
        let metrics = ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        Batch::frame(&metrics.encode_to_vec()).to_vec()
    }

    #[test]
    fn names_the_job_and_the_instance() {
        let payload = payload(&[
            ("service.instance.id", "a:1"),
            ("x", "y"),
            ("service.name", "node"),
        ]);
        assert_eq!(describe(&payload), r#"job="node" instance="a:1""#);
    }

    #[test]
    fn cuts_a_long_value() {
        let payload = payload(&[("service.name", &"ü".repeat(100_000))]);
        assert_eq!(
            describe(&payload).len(),
            r#"job="""#.len() + MAX_VALUE_BYTES
        );
    }

    #[test]
    fn a_batch_without_a_name_or_of_garbage_is_unknown() {
        assert_eq!(describe(&payload(&[])), "unknown");
        assert_eq!(describe(b"\x0a\xff\xff"), "unknown");
    }
}
