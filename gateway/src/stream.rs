//! Hashes the identity of an OTLP stream (time series) into a number.
//!
//! A stream is identified by its resource, scope, metric and attributes.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue},
    metrics::v1::{Metric, metric::Data},
    resource::v1::Resource,
};
use prost::Message;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Hash of a stream's identity. Two streams collide about once in 10^28 pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(u128);

/// Hash of the part of the identity that all streams of a resource, scope or metric share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix(u128);

// === impl Prefix ===

impl Prefix {
    pub(crate) fn of_resource(resource: Option<&Resource>) -> Self {
        Self(resource.map_or(0, |resource| attributes(&resource.attributes)))
    }

    pub(crate) fn scope(self, scope: Option<&InstrumentationScope>) -> Self {
        let Some(scope) = scope else { return self };
        let own = attributes(&scope.attributes);
        self.then(&[scope.name.as_bytes(), scope.version.as_bytes()], own)
    }

    pub(crate) fn metric(self, metric: &Metric) -> Self {
        let kind = match &metric.data {
            None => 0,
            Some(Data::Gauge(_)) => 1,
            Some(Data::Sum(sum)) => 2 + u128::from(sum.is_monotonic),
            Some(Data::Histogram(_)) => 4,
            Some(Data::ExponentialHistogram(_)) => 5,
            Some(Data::Summary(_)) => 6,
        };
        self.then(&[metric.name.as_bytes(), metric.unit.as_bytes()], kind)
    }

    pub(crate) fn point(self, point: &[KeyValue]) -> StreamId {
        StreamId(self.then(&[], attributes(point)).0)
    }

    fn then(self, texts: &[&[u8]], number: u128) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        Self(hasher.digest128())
    }
}

// === impl StreamId ===

impl StreamId {
    /// Key for the rendezvous hashing that selects the stream's owner.
    pub(crate) fn key(self) -> u64 {
        self.0 as u64
    }
}

/// Hashes attributes independently of their order.
fn attributes(attributes: &[KeyValue]) -> u128 {
    let hashes = attributes.iter().map(|pair| {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend((pair.key.len() as u64).to_le_bytes());
        bytes.extend(pair.key.as_bytes());
        let value = pair.value.as_ref();
        bytes.extend(value.map(AnyValue::encode_to_vec).unwrap_or_default());
        xxh3_128(&bytes)
    });
    hashes.fold(0, u128::wrapping_add)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::any_value::Value, metrics::v1::Sum};

    use super::*;

    fn pair(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(value.to_owned())),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn every_part_of_the_identity_distinguishes_streams() {
        let id = |resource: &str, scope: &str, name: &str, monotonic, point: &[KeyValue]| {
            let resource = Resource {
                attributes: vec![pair("service.name", resource)],
                ..Default::default()
            };
            let scope = InstrumentationScope {
                name: scope.to_owned(),
                ..Default::default()
            };
            let metric = Metric {
                name: name.to_owned(),
                data: Some(Data::Sum(Sum {
                    is_monotonic: monotonic,
                    ..Default::default()
                })),
                ..Default::default()
            };
            let prefix = Prefix::of_resource(Some(&resource)).scope(Some(&scope));
            prefix.metric(&metric).point(point)
        };
        let (ab, ba) = (
            [pair("a", "1"), pair("b", "2")],
            [pair("b", "2"), pair("a", "1")],
        );
        let swapped = [pair("a", "2"), pair("b", "1")];
        assert_eq!(id("r", "s", "m", true, &ab), id("r", "s", "m", true, &ba));
        let ids = std::collections::BTreeSet::from([
            id("r", "s", "m", true, &ab),
            id("r2", "s", "m", true, &ab),
            id("r", "s2", "m", true, &ab),
            id("r", "s", "m2", true, &ab),
            id("r", "s", "m", false, &ab),
            id("r", "s", "m", true, &ab[..1]),
            id("r", "s", "m", true, &swapped),
        ]);
        assert_eq!(ids.len(), 7);
    }
}
