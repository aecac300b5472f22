//! Encodes the `Metric` message around the data points.

use mesh_wire::protobuf::{self, FieldType};

use crate::{
    exposition::MetricType,
    samples::{Metadata, attributes},
};

/// Data type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    /// Gauge of number data points.
    Gauge,
    /// Cumulative sum of number data points.
    Sum { monotonic: bool },
    /// Classic histograms.
    Histogram,
    /// Native histograms with custom buckets.
    CustomBuckets,
    /// Native histograms with exponential buckets.
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
/// `Sum.aggregation_temporality` and so on, and the value for cumulative points.
const TEMPORALITY: u32 = 2;
const CUMULATIVE: u64 = 2;
/// `Sum.is_monotonic`.
const IS_MONOTONIC: u32 = 3;

/// Metadata keys: the Prometheus type, the family if its name differs from the
/// metric's, and a marker for native histograms with custom buckets.
const TYPE_KEY: &str = "prometheus.type";
const FAMILY_KEY: &str = "prometheus.family";
const HISTOGRAM_KEY: &str = "prometheus.histogram";
const CUSTOM_BUCKETS: &str = "nhcb";

// === impl MetricKind ===

impl MetricKind {
    /// Data type for the float samples of a family.
    pub(super) fn for_numbers(metric_type: Option<MetricType>) -> Self {
        match metric_type {
            Some(MetricType::Counter) => Self::Sum { monotonic: true },
            Some(MetricType::Info | MetricType::StateSet) => Self::Sum { monotonic: false },
            _ => Self::Gauge,
        }
    }

    fn field(self) -> u32 {
        match self {
            Self::Gauge => 5,
            Self::Sum { .. } => 7,
            Self::Histogram | Self::CustomBuckets => 9,
            Self::Exponential => 10,
            Self::Summary => 11,
        }
    }

    /// Encoded fields that follow the data points, such as the temporality.
    fn trailer(self) -> Vec<u8> {
        let mut trailer = Vec::new();
        if !matches!(self, Self::Gauge | Self::Summary) {
            protobuf::put_key(TEMPORALITY, FieldType::Varint, &mut trailer);
            protobuf::put_varint(CUMULATIVE, &mut trailer);
        }
        if self == (Self::Sum { monotonic: true }) {
            protobuf::put_key(IS_MONOTONIC, FieldType::Varint, &mut trailer);
            protobuf::put_varint(1, &mut trailer);
        }
        trailer
    }
}

/// Length of a `Metric` in bytes. `points` is the length of its data points,
/// including their keys and length prefixes.
pub(super) fn len(
    kind: MetricKind,
    name: &str,
    metadata: Option<&Metadata>,
    points: usize,
) -> usize {
    let texts = metadata.map_or(0, |metadata| {
        text_len(DESCRIPTION, &metadata.help) + text_len(UNIT, &metadata.unit)
    });
    let pairs: usize = metadata_pairs(kind, name, metadata)
        .map(|(key, value)| attributes::put_len(METADATA, key, value))
        .sum();
    let data = protobuf::bytes_len(kind.field(), points + kind.trailer().len());
    text_len(NAME, name) + texts + data + pairs
}

/// Writes a `Metric`. `put_points` writes the data points, `points` bytes in all.
pub(super) fn put(
    kind: MetricKind,
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
    let trailer = kind.trailer();
    protobuf::put_header(kind.field(), points + trailer.len(), out);
    put_points(out);
    out.extend_from_slice(&trailer);
    for (key, value) in metadata_pairs(kind, name, metadata) {
        attributes::put(METADATA, key, value, out);
    }
}

fn metadata_pairs<'a>(
    kind: MetricKind,
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
    let marker = (kind == MetricKind::CustomBuckets).then_some((HISTOGRAM_KEY, CUSTOM_BUCKETS));
    known.chain(marker)
}

/// Number of bytes that [`put_text`] writes. An empty text takes none.
fn text_len(field: u32, text: &str) -> usize {
    if text.is_empty() {
        return 0;
    }
    protobuf::bytes_len(field, text.len())
}

fn put_text(field: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        protobuf::put_bytes(field, text.as_bytes(), out);
    }
}
