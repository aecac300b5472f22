//! The rendered labels of a data point, by its encoded attributes.

use mesh::labels::{BUCKET, LabelsBuilder, METRIC_NAME, QUANTILE};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message;

use crate::{
    ha::Stamp,
    remote_write::piece::Rendered,
    translate::{cache::RenderCache, labels},
    wire::{Field, Fields, WireError},
};

/// Looks the series of data points up and renders those not seen before.
#[derive(Debug)]
pub struct Lookup<'a> {
    stamp: &'a Stamp,
    cache: &'a mut RenderCache,
    /// Stamp, kind, name, attributes, bounds: all that the labels depend on.
    key: Vec<u8>,
    kind: Kind,
    /// Where in the key the name begins and where the attributes do.
    name: usize,
    attributes: usize,
}

/// Which series a point becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One, named as the metric.
    Single = 1,
    /// `_bucket` for each bound and `+Inf`, then `_sum`, then `_count`.
    Histogram = 2,
    /// One for each quantile, then `_sum`, then `_count`.
    Summary = 3,
}

// === impl Lookup ===

impl<'a> Lookup<'a> {
    /// Looks up in `cache`, where `stamp_id` tells this stamp from others.
    pub fn new(stamp: &'a Stamp, stamp_id: u32, cache: &'a mut RenderCache) -> Self {
        let key = stamp_id.to_le_bytes().to_vec();
        let name = key.len();
        Self {
            stamp,
            cache,
            key,
            kind: Kind::Single,
            name,
            attributes: name,
        }
    }

    /// Begins a data point of the metric `name`.
    pub fn begin(&mut self, kind: Kind, name: &str) {
        self.kind = kind;
        self.key.truncate(size_of::<u32>());
        self.key.push(kind as u8);
        self.key
            .extend_from_slice(&(name.len() as u32).to_le_bytes());
        self.name = self.key.len();
        self.key.extend_from_slice(name.as_bytes());
        self.attributes = self.key.len();
    }

    /// Adds an encoded attribute of the point.
    pub fn attribute(&mut self, field: &Field<'_>) {
        self.key.extend_from_slice(field.raw);
    }

    /// The point's series, in the order [`Kind`] tells. `bounds` are a
    /// histogram's bounds or a summary's quantiles, as bits.
    ///
    /// # Errors
    /// Where an attribute is malformed.
    pub fn series(&mut self, bounds: &[u64]) -> Result<&[Rendered], WireError> {
        let end = self.key.len();
        if self.kind != Kind::Single {
            for bound in bounds {
                self.key.extend_from_slice(&bound.to_le_bytes());
            }
            self.key
                .extend_from_slice(&(bounds.len() as u32).to_le_bytes());
        }
        let name = &self.key[self.name..self.attributes];
        let attributes = &self.key[self.attributes..end];
        let (stamp, kind) = (self.stamp, self.kind);
        self.cache.series(&self.key, || {
            let name = std::str::from_utf8(name).map_err(|_| WireError::Utf8(1))?;
            let labels = read(attributes)?;
            Ok(render(stamp, kind, name, &labels, bounds))
        })
    }
}

/// Reads encoded attributes, each with its frame.
fn read(attributes: &[u8]) -> Result<LabelsBuilder, WireError> {
    let mut builder = LabelsBuilder::default();
    for field in Fields::new(attributes) {
        let pair = KeyValue::decode(field?.bytes()?)?;
        let value = labels::text(pair.value.as_ref());
        builder.set(pair.key, value);
    }
    Ok(builder)
}

fn render(
    stamp: &Stamp,
    kind: Kind,
    name: &str,
    labels: &LabelsBuilder,
    bounds: &[u64],
) -> Box<[Rendered]> {
    let one = |suffix: &str, extra: Option<(&str, String)>| {
        let mut labels = labels.clone();
        labels.set(METRIC_NAME, format!("{name}{suffix}"));
        if let Some((name, value)) = extra {
            labels.set(name, value);
        }
        stamp.render(&mut labels)
    };
    let text = |bits: &u64| mesh::float::openmetrics(f64::from_bits(*bits));
    let (suffix, label, last) = match kind {
        Kind::Single => return Box::new([one("", None)]),
        Kind::Histogram => ("_bucket", BUCKET, Some("+Inf".to_owned())),
        Kind::Summary => ("", QUANTILE, None),
    };
    let bounds = bounds.iter().map(text).chain(last);
    bounds
        .map(|bound| one(suffix, Some((label, bound))))
        .chain(["_sum", "_count"].map(|suffix| one(suffix, None)))
        .collect()
}
