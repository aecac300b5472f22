//! The series of a data point, from its encoded attributes.

use foldhash::HashMap;
use mesh::{
    labels::{BUCKET, LabelsBuilder, METRIC_NAME, QUANTILE},
    wire::{Field, Fields, WireError},
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message;

use super::direct;
use crate::{
    ha::Stamp,
    remote_write::piece::{Rendered, SeriesRef},
    translate::{cache::RenderCache, labels},
};

/// Makes the series of data points, one point after another.
#[derive(Debug)]
pub struct Lookup<'a> {
    stamp: &'a Stamp,
    cache: &'a RenderCache,
    /// Stamp, kind, name, attributes, bounds: all that the labels depend on.
    key: Vec<u8>,
    kind: Kind,
    /// Where in the key the name begins and where the attributes do.
    name: usize,
    attributes: usize,
    /// Bounds as text, by their bits: the same few come again and again.
    texts: HashMap<u64, String>,
    /// The encoded labels of the series under way.
    labels: Vec<u8>,
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

/// One series of a point: what is added to the metric's name, and the label that
/// tells it from the others.
type Part<'a> = (&'static str, Option<(&'static str, &'a str)>);

// === impl Lookup ===

impl<'a> Lookup<'a> {
    /// Makes series with this stamp. What cannot be written directly is looked up
    /// in `cache`, where `stamp_id` tells this stamp from others.
    pub fn new(stamp: &'a Stamp, stamp_id: u32, cache: &'a RenderCache) -> Self {
        let key = stamp_id.to_le_bytes().to_vec();
        let name = key.len();
        Self {
            stamp,
            cache,
            key,
            kind: Kind::Single,
            name,
            attributes: name,
            texts: HashMap::default(),
            labels: Vec::new(),
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

    /// Hands the point's series to `each` with their numbers, in the order [`Kind`]
    /// tells. `bounds` are a histogram's bounds or a summary's quantiles, as bits.
    ///
    /// # Errors
    /// Where an attribute is malformed.
    pub fn each(
        &mut self,
        bounds: &[u64],
        mut each: impl FnMut(usize, SeriesRef<'_>),
    ) -> Result<(), WireError> {
        for bits in bounds {
            let text = || mesh::float::openmetrics(f64::from_bits(*bits));
            self.texts.entry(*bits).or_insert_with(text);
        }
        let Self {
            stamp,
            cache,
            key,
            texts,
            labels,
            ..
        } = self;
        let end = key.len();
        let parts = || parts(self.kind, bounds.iter().map(|bits| &*texts[bits]));
        let name = std::str::from_utf8(&key[self.name..self.attributes]);
        let name = name.map_err(|_| WireError::Utf8(1))?;
        let attributes = &key[self.attributes..end];
        if let Some(stamped) = stamp.added() {
            let mut simple = true;
            for (i, (suffix, extra)) in parts().enumerate() {
                let name = (METRIC_NAME, [name, suffix]);
                let extra = extra.map(|(name, value)| (name, [value, ""]));
                let own = [name, extra.unwrap_or(name)];
                let own = &own[..1 + usize::from(extra.is_some())];
                match direct::series(labels, attributes, stamped, own)? {
                    Some(series) => each(i, series),
                    None => {
                        // It is the attributes that are not simple, so it is the
                        // first series that tells.
                        simple = false;
                        break;
                    }
                }
            }
            if simple {
                return Ok(());
            }
        }
        let rendered = || {
            let own = read(attributes)?;
            let rendered = parts().map(|part| render(stamp, name, &own, part));
            Ok(rendered.collect())
        };
        let mut whole = key.clone();
        for bound in bounds {
            whole.extend_from_slice(&bound.to_le_bytes());
        }
        whole.extend_from_slice(&(bounds.len() as u32).to_le_bytes());
        cache.with(&whole, rendered, |series| {
            for (i, series) in series.iter().enumerate() {
                each(i, series.as_ref());
            }
        })
    }
}

/// The series of a point by their order.
fn parts<'b>(kind: Kind, bounds: impl Iterator<Item = &'b str>) -> impl Iterator<Item = Part<'b>> {
    let (suffix, label, last) = match kind {
        Kind::Single => ("", "", None),
        Kind::Histogram => ("_bucket", BUCKET, Some("+Inf")),
        Kind::Summary => ("", QUANTILE, None),
    };
    let rest: &[Part<'_>] = match kind {
        Kind::Single => &[("", None)],
        _ => &[("_sum", None), ("_count", None)],
    };
    let bounds = bounds.filter(move |_| kind != Kind::Single).chain(last);
    let bounds = bounds.map(move |bound| (suffix, Some((label, bound))));
    bounds.chain(rest.iter().copied())
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
    name: &str,
    labels: &LabelsBuilder,
    (suffix, extra): Part<'_>,
) -> Rendered {
    let mut labels = labels.clone();
    labels.set(METRIC_NAME, format!("{name}{suffix}"));
    if let Some((name, value)) = extra {
        labels.set(name, value);
    }
    stamp.render(&mut labels)
}
