//! Builds the series of a data point from its encoded attributes.

use foldhash::HashMap;
use mesh_model::labels::{BUCKET, LabelsBuilder, METRIC_NAME, QUANTILE};
use mesh_wire::protobuf::{Field, Fields, WireError};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message;

use super::passthrough;
use crate::{
    ha::LabelRewriter,
    remote_write::part::{EncodedLabels, SeriesRef},
    translate::{cache::LabelCache, labels},
};

/// Builds the series of data points, one point after another.
#[derive(Debug)]
pub struct SeriesBuilder<'a> {
    rewriter: &'a LabelRewriter,
    cache: &'a LabelCache,
    /// Cache key: rewriter, kind, name, attributes and bounds, on which the labels
    /// depend.
    key: Vec<u8>,
    kind: SeriesLayout,
    /// Offsets of the name and of the attributes within the key.
    name: usize,
    attributes: usize,
    /// Formatted bounds by their bits, because the same few recur.
    texts: HashMap<u64, String>,
    /// Encoded labels of the current series.
    labels: Vec<u8>,
}

/// Series of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesLayout {
    /// One series with the name of the metric.
    Single = 1,
    /// Series `_bucket` for each bound and `+Inf`, then `_sum` and `_count`.
    Histogram = 2,
    /// One series for each quantile, then `_sum` and `_count`.
    Summary = 3,
}

/// One series of a point: the suffix of its name, and its additional label.
type PointSeries<'a> = (&'static str, Option<(&'static str, &'a str)>);

// === impl SeriesBuilder ===

impl<'a> SeriesBuilder<'a> {
    /// Creates a builder that rewrites labels with `rewriter`. The cache distinguishes
    /// rewriters by `rewriter_id`.
    pub fn new(rewriter: &'a LabelRewriter, rewriter_id: u32, cache: &'a LabelCache) -> Self {
        let key = rewriter_id.to_le_bytes().to_vec();
        let name = key.len();
        Self {
            rewriter,
            cache,
            key,
            kind: SeriesLayout::Single,
            name,
            attributes: name,
            texts: HashMap::default(),
            labels: Vec::new(),
        }
    }

    /// Begins a data point of the metric `name`.
    pub fn begin(&mut self, kind: SeriesLayout, name: &str) {
        self.kind = kind;
        self.key.truncate(size_of::<u32>());
        self.key.push(kind as u8);
        self.key
            .extend_from_slice(&(name.len() as u32).to_le_bytes());
        self.name = self.key.len();
        self.key.extend_from_slice(name.as_bytes());
        self.attributes = self.key.len();
    }

    /// Replaces the series of the point that [`SeriesBuilder::begin`] began.
    pub fn set_layout(&mut self, kind: SeriesLayout) {
        self.kind = kind;
        self.key[size_of::<u32>()] = kind as u8;
    }

    /// Adds an encoded attribute of the point.
    pub fn attribute(&mut self, field: &Field<'_>) {
        self.key.extend_from_slice(field.raw);
    }

    /// Calls `each` with the index and labels of every series, in the order of
    /// [`SeriesLayout`]. `bounds` are the bounds of a histogram or the quantiles of a summary,
    /// as bits.
    ///
    /// # Errors
    /// Returns an error if an attribute is malformed.
    pub fn each(
        &mut self,
        bounds: &[u64],
        mut each: impl FnMut(usize, SeriesRef<'_>),
    ) -> Result<(), WireError> {
        for bits in bounds {
            let text = || mesh_wire::float::openmetrics(f64::from_bits(*bits));
            self.texts.entry(*bits).or_insert_with(text);
        }
        let Self {
            rewriter,
            cache,
            key,
            texts,
            labels,
            ..
        } = self;
        let end = key.len();
        let point_series = || point_series(self.kind, bounds.iter().map(|bits| &*texts[bits]));
        let name = std::str::from_utf8(&key[self.name..self.attributes]);
        let name = name.map_err(|_| WireError::Utf8(1))?;
        let attributes = &key[self.attributes..end];
        if let Some(static_labels) = rewriter.static_labels() {
            let mut simple = true;
            for (i, (suffix, extra)) in point_series().enumerate() {
                let name = (METRIC_NAME, [name, suffix]);
                let extra = extra.map(|(name, value)| (name, [value, ""]));
                let own = [name, extra.unwrap_or(name)];
                let own = &own[..1 + usize::from(extra.is_some())];
                match passthrough::series(labels, attributes, static_labels, own)? {
                    Some(series) => each(i, series),
                    None => {
                        // The cause is in the attributes, so the first series already
                        // returns `None`.
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
            let rendered = point_series().map(|one| render(rewriter, name, &own, one));
            Ok(rendered.collect())
        };
        let mut cache_key = key.clone();
        for bound in bounds {
            cache_key.extend_from_slice(&bound.to_le_bytes());
        }
        cache_key.extend_from_slice(&(bounds.len() as u32).to_le_bytes());
        cache.with(&cache_key, rendered, |series| {
            for (i, series) in series.iter().enumerate() {
                each(i, series.as_ref());
            }
        })
    }
}

/// Iterates over the series of a point.
fn point_series<'b>(
    kind: SeriesLayout,
    bounds: impl Iterator<Item = &'b str>,
) -> impl Iterator<Item = PointSeries<'b>> {
    let (suffix, label, last) = match kind {
        SeriesLayout::Single => ("", "", None),
        SeriesLayout::Histogram => ("_bucket", BUCKET, Some("+Inf")),
        SeriesLayout::Summary => ("", QUANTILE, None),
    };
    let rest: &[PointSeries<'_>] = match kind {
        SeriesLayout::Single => &[("", None)],
        _ => &[("_sum", None), ("_count", None)],
    };
    let bounds = bounds
        .filter(move |_| kind != SeriesLayout::Single)
        .chain(last);
    let bounds = bounds.map(move |bound| (suffix, Some((label, bound))));
    bounds.chain(rest.iter().copied())
}

/// Decodes framed attributes.
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
    rewriter: &LabelRewriter,
    name: &str,
    labels: &LabelsBuilder,
    (suffix, extra): PointSeries<'_>,
) -> EncodedLabels {
    let mut labels = labels.clone();
    labels.set(METRIC_NAME, format!("{name}{suffix}"));
    if let Some((name, value)) = extra {
        labels.set(name, value);
    }
    rewriter.rewrite(&mut labels)
}
