//! Memory of what the parts of a split resource repeat.

use std::mem::size_of_val;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
};

/// Overhead of an allocation.
const ALLOCATION: usize = 16;

/// Returns the bytes of a copy of a resource with its scopes and metrics, but without points.
pub(crate) fn bytes(resource: &ResourceMetrics) -> usize {
    let own = resource.resource.iter().map(|own| {
        let entities = own.entity_refs.iter().map(|entity| {
            let ids = entity.id_keys.iter().chain(&entity.description_keys);
            let ids: usize = ids.map(|id| size_of_val(id) + text(id)).sum();
            size_of_val(entity) + text(&entity.schema_url) + text(&entity.r#type) + ids
        });
        key_values(&own.attributes) + entities.sum::<usize>()
    });
    let scopes = resource.scope_metrics.iter().map(of_scope);
    size_of_val(resource) + text(&resource.schema_url) + own.sum::<usize>() + scopes.sum::<usize>()
}

fn of_scope(scope: &ScopeMetrics) -> usize {
    let own = scope
        .scope
        .iter()
        .map(|own| text(&own.name) + text(&own.version) + key_values(&own.attributes));
    let metrics = scope.metrics.iter().map(of_metric);
    size_of_val(scope) + text(&scope.schema_url) + own.sum::<usize>() + metrics.sum::<usize>()
}

fn of_metric(metric: &Metric) -> usize {
    size_of_val(metric)
        + text(&metric.name)
        + text(&metric.description)
        + text(&metric.unit)
        + key_values(&metric.metadata)
}

fn key_values(pairs: &[KeyValue]) -> usize {
    let of_pair = |pair: &KeyValue| text(&pair.key) + pair.value.as_ref().map_or(0, of_value);
    size_of_val(pairs) + pairs.iter().map(of_pair).sum::<usize>()
}

/// Bytes of a value on the heap. Decoding has bounded the depth of the recursion.
fn of_value(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(string)) => text(string),
        Some(Value::BytesValue(bytes)) => bytes.len() + ALLOCATION,
        Some(Value::ArrayValue(array)) => {
            let values = array.values.iter();
            size_of_val(&*array.values) + values.map(of_value).sum::<usize>()
        }
        Some(Value::KvlistValue(list)) => key_values(&list.values),
        _ => 0,
    }
}

fn text(text: &str) -> usize {
    text.len() + ALLOCATION
}
