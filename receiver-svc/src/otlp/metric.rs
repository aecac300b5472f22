//! Metrics: what stands before and behind the data points.

use mesh::wire::{self, FieldType};

use super::attributes;
use crate::{exposition::MetricType, scrape::Metadata};

/// What the points of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers that mean what they are.
    Gauge,
    /// Numbers that are totals; `true` where they only go up.
    Sum(bool),
    /// Classic histograms.
    Histogram,
    /// Native histograms with custom bounds.
    CustomBuckets,
    /// Other native histograms.
    Exponential,
    /// Summaries.
    Summary,
}

const NAME: u32 = 1;
const DESCRIPTION: u32 = 2;
const UNIT: u32 = 3;
const METADATA: u32 = 12;
/// `Gauge.data_points` and so on.
pub(super) const DATA_POINTS: u32 = 1;
/// `Sum.aggregation_temporality` and so on, and its value for totals.
const TEMPORALITY: u32 = 2;
const CUMULATIVE: u64 = 2;
/// `Sum.is_monotonic`.
const IS_MONOTONIC: u32 = 3;

/// Metadata keys: the type, the family where it is not the metric's name, and a
/// mark for histograms that are native ones with custom bounds.
const TYPE_KEY: &str = "prometheus.type";
const FAMILY_KEY: &str = "prometheus.family";
const HISTOGRAM_KEY: &str = "prometheus.histogram";
const CUSTOM_BUCKETS: &str = "nhcb";

// === impl Kind ===

impl Kind {
    /// What single samples of a family are.
    pub(super) fn of_numbers(metric_type: Option<MetricType>) -> Self {
        match metric_type {
            Some(MetricType::Counter) => Self::Sum(true),
            Some(MetricType::Info | MetricType::StateSet) => Self::Sum(false),
            _ => Self::Gauge,
        }
    }

    fn field(self) -> u32 {
        match self {
            Self::Gauge => 5,
            Self::Sum(_) => 7,
            Self::Histogram | Self::CustomBuckets => 9,
            Self::Exponential => 10,
            Self::Summary => 11,
        }
    }

    /// What the message of the points has behind them.
    fn tail(self) -> Vec<u8> {
        let mut tail = Vec::new();
        if !matches!(self, Self::Gauge | Self::Summary) {
            wire::put_key(TEMPORALITY, FieldType::Varint, &mut tail);
            wire::put_varint(CUMULATIVE, &mut tail);
        }
        if self == Self::Sum(true) {
            wire::put_key(IS_MONOTONIC, FieldType::Varint, &mut tail);
            wire::put_varint(1, &mut tail);
        }
        tail
    }
}

/// How long the `Metric` is whose points, with their keys and lengths, have
/// `points` bytes.
pub(super) fn len(kind: Kind, name: &str, metadata: Option<&Metadata>, points: usize) -> usize {
    let texts = metadata.map_or(0, |metadata| {
        text_len(DESCRIPTION, &metadata.help) + text_len(UNIT, &metadata.unit)
    });
    let pairs: usize = pairs(kind, name, metadata)
        .map(|(key, value)| attributes::put_len(METADATA, key, value))
        .sum();
    let data = wire::bytes_len(kind.field(), points + kind.tail().len());
    text_len(NAME, name) + texts + data + pairs
}

/// Writes a `Metric`, its points by `put_points`, which writes `points` bytes.
pub(super) fn put(
    kind: Kind,
    name: &str,
    metadata: Option<&Metadata>,
    points: usize,
    out: &mut Vec<u8>,
    put_points: impl FnOnce(&mut Vec<u8>),
) {
    put_text(NAME, name, out);
    if let Some(metadata) = metadata {
        put_text(DESCRIPTION, &metadata.help, out);
        put_text(UNIT, &metadata.unit, out);
    }
    let tail = kind.tail();
    wire::put_header(kind.field(), points + tail.len(), out);
    put_points(out);
    out.extend_from_slice(&tail);
    for (key, value) in pairs(kind, name, metadata) {
        attributes::put(METADATA, key, value, out);
    }
}

fn pairs<'a>(
    kind: Kind,
    name: &'a str,
    metadata: Option<&'a Metadata>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let known = metadata.into_iter().flat_map(move |metadata| {
        let family = metadata.family.as_str();
        let family = (family != name).then_some((FAMILY_KEY, family));
        [(TYPE_KEY, metadata.metric_type.as_str())]
            .into_iter()
            .chain(family)
    });
    let mark = (kind == Kind::CustomBuckets).then_some((HISTOGRAM_KEY, CUSTOM_BUCKETS));
    known.chain(mark)
}

/// An empty text is not written.
fn text_len(field: u32, text: &str) -> usize {
    if text.is_empty() {
        return 0;
    }
    wire::bytes_len(field, text.len())
}

fn put_text(field: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        wire::put_bytes(field, text.as_bytes(), out);
    }
}
