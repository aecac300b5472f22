//! Encodes native histograms.
//!
//! A histogram becomes an OTLP histogram data point if that loses nothing.
//! Otherwise an attribute of a number data point carries its bytes.

use mesh_wire::protobuf::{self, FieldType};
use proto::v1::{self, histogram};

use super::{HISTOGRAM_ATTRIBUTE, exemplar, number};
use crate::{
    exposition::{CUSTOM_BUCKETS, Counts, Exemplar, Histogram, Span, indexes},
    samples::{
        Sample,
        attributes::{Attributes, EXPONENTIAL_ATTRIBUTES, HISTOGRAM_ATTRIBUTES, NUMBER_ATTRIBUTES},
        resolution::is_exponential,
    },
};

/// OTLP representation of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    /// An `ExponentialHistogramDataPoint`.
    Exponential,
    /// A `HistogramDataPoint` of a metric whose metadata marks custom buckets.
    CustomBuckets,
    /// A `NumberDataPoint` with the histogram in an attribute. Used for gauge
    /// histograms, float counts, and buckets too sparse for a dense list.
    Attribute,
}

/// Maximum number of buckets per sign in an OTLP point, including empty ones.
const MAX_DENSE_BUCKETS: i64 = 2048;

const COUNT: u32 = 4;
const SUM: u32 = 5;
/// `HistogramDataPoint`.
const BUCKET_COUNTS: u32 = 6;
const EXPLICIT_BOUNDS: u32 = 7;
const EXEMPLARS: u32 = 8;
/// `ExponentialHistogramDataPoint`.
const SCALE: u32 = 6;
const ZERO_COUNT: u32 = 7;
const POSITIVE: u32 = 8;
const NEGATIVE: u32 = 9;
const EXPONENTIAL_EXEMPLARS: u32 = 11;
const ZERO_THRESHOLD: u32 = 14;
/// `Buckets.offset` and `Buckets.bucket_counts`.
const OFFSET: u32 = 1;
const COUNTS: u32 = 2;
/// `KeyValue.key`, `KeyValue.value` and `AnyValue.bytes_value`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const BYTES_VALUE: u32 = 7;

/// Returns a representation that loses nothing of the histogram.
pub(super) fn representation(histogram: &Histogram) -> Representation {
    let Counts::Integer {
        positive_deltas,
        negative_deltas,
        ..
    } = &histogram.counts
    else {
        return Representation::Attribute;
    };
    let signs = [
        (&histogram.positive_spans, positive_deltas),
        (&histogram.negative_spans, negative_deltas),
    ];
    let [Some((positive, counts)), Some((negative, _))] =
        signs.map(|(spans, deltas)| dense_counts(spans, deltas))
    else {
        return Representation::Attribute;
    };
    let has_bounds = || {
        (0..=histogram.custom_values.len() as i64)
            .contains(&(i64::from(positive) + counts.len() as i64 - 1))
    };
    let offsets_fit = [positive, negative].iter().all(|first| *first > i32::MIN);
    match histogram.schema {
        _ if histogram.gauge => Representation::Attribute,
        CUSTOM_BUCKETS if positive >= 0 && (counts.is_empty() || has_bounds()) => {
            Representation::CustomBuckets
        }
        schema if is_exponential(schema) && offsets_fit => Representation::Exponential,
        _ => Representation::Attribute,
    }
}

/// Writes the data point of a native histogram.
pub(super) fn put(
    attributes: Attributes<'_>,
    sample: &Sample,
    histogram: &Histogram,
    exemplars: &[Exemplar],
    out: &mut Vec<u8>,
) {
    match representation(histogram) {
        Representation::Exponential => {
            put_exponential(attributes, sample, histogram, exemplars, out)
        }
        Representation::CustomBuckets => put_custom(attributes, sample, histogram, exemplars, out),
        Representation::Attribute => {
            number::put(attributes, sample, exemplars, out);
            put_attribute(histogram, out);
        }
    }
}

fn put_exponential(
    attributes: Attributes<'_>,
    sample: &Sample,
    histogram: &Histogram,
    exemplars: &[Exemplar],
    out: &mut Vec<u8>,
) {
    let Counts::Integer {
        count,
        zero_count,
        positive_deltas,
        negative_deltas,
    } = &histogram.counts
    else {
        return;
    };
    number::put_times(sample, out);
    protobuf::put_fixed64(COUNT, *count, out);
    protobuf::put_double(SUM, histogram.sum, out);
    protobuf::put_key(SCALE, FieldType::Varint, out);
    protobuf::put_varint(protobuf::zigzag(histogram.schema), out);
    protobuf::put_fixed64(ZERO_COUNT, *zero_count, out);
    put_buckets(POSITIVE, &histogram.positive_spans, positive_deltas, out);
    put_buckets(NEGATIVE, &histogram.negative_spans, negative_deltas, out);
    exemplar::put(EXPONENTIAL_EXEMPLARS, exemplars, out);
    protobuf::put_double(ZERO_THRESHOLD, histogram.zero_threshold, out);
    attributes.put_as(EXPONENTIAL_ATTRIBUTES, out);
}

fn put_buckets(field: u32, spans: &[Span], deltas: &[i64], out: &mut Vec<u8>) {
    let Some((first, counts)) =
        dense_counts(spans, deltas).filter(|(_, counts)| !counts.is_empty())
    else {
        return;
    };
    let mut packed = Vec::with_capacity(counts.len() * 2);
    for count in counts {
        protobuf::put_varint(count, &mut packed);
    }
    let mut buckets = Vec::with_capacity(packed.len() + 16);
    protobuf::put_key(OFFSET, FieldType::Varint, &mut buckets);
    // OTLP indexes a bucket by its lower bound, Prometheus by its upper bound.
    protobuf::put_varint(protobuf::zigzag(first - 1), &mut buckets);
    protobuf::put_bytes(COUNTS, &packed, &mut buckets);
    protobuf::put_bytes(field, &buckets, out);
}

fn put_custom(
    attributes: Attributes<'_>,
    sample: &Sample,
    histogram: &Histogram,
    exemplars: &[Exemplar],
    out: &mut Vec<u8>,
) {
    let Counts::Integer {
        count,
        positive_deltas,
        ..
    } = &histogram.counts
    else {
        return;
    };
    let bounds = &histogram.custom_values;
    let mut counts = vec![0_u64; bounds.len() + 1];
    let dense = dense_counts(&histogram.positive_spans, positive_deltas);
    for (index, count) in dense
        .into_iter()
        .flat_map(|(first, counts)| (first..).zip(counts))
    {
        if let Some(bucket) = usize::try_from(index)
            .ok()
            .and_then(|at| counts.get_mut(at))
        {
            *bucket = count;
        }
    }
    number::put_times(sample, out);
    protobuf::put_fixed64(COUNT, *count, out);
    protobuf::put_double(SUM, histogram.sum, out);
    protobuf::put_header(BUCKET_COUNTS, counts.len() * 8, out);
    out.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    protobuf::put_header(EXPLICIT_BOUNDS, bounds.len() * 8, out);
    out.extend(bounds.iter().flat_map(|bound| bound.to_le_bytes()));
    exemplar::put(EXEMPLARS, exemplars, out);
    attributes.put_as(HISTOGRAM_ATTRIBUTES, out);
}

/// Returns the index of the first bucket and the counts of all buckets from there
/// on, including empty ones.
///
/// Returns `None` if the spans could not be restored from this list: a span is empty
/// or touches the next one, a bucket within a span is empty, or the list would exceed
/// [`MAX_DENSE_BUCKETS`].
fn dense_counts(spans: &[Span], deltas: &[i64]) -> Option<(i32, Vec<u64>)> {
    let apart = spans.iter().skip(1).all(|span| span.offset > 0);
    let filled = spans.iter().all(|span| span.length > 0);
    let Some(first) = spans.first() else {
        return Some((0, Vec::new()));
    };
    let buckets: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    let width = spans.iter().fold(0_i64, |width, span| {
        width + i64::from(span.offset) + i64::from(span.length)
    }) - i64::from(first.offset);
    if !apart || !filled || width > MAX_DENSE_BUCKETS || buckets != deltas.len() as u64 {
        return None;
    }
    let mut counts = vec![0; usize::try_from(width).ok()?];
    let mut count = 0_i64;
    for (index, delta) in indexes(spans).zip(deltas) {
        count = count.wrapping_add(*delta);
        let at = usize::try_from(index - i64::from(first.offset)).ok()?;
        *counts.get_mut(at)? = u64::try_from(count).ok().filter(|count| *count > 0)?;
    }
    Some((first.offset, counts))
}

fn put_attribute(histogram: &Histogram, out: &mut Vec<u8>) {
    let mut any = Vec::new();
    let histogram = remote_write_message(histogram).encode_exactly();
    protobuf::put_bytes(BYTES_VALUE, &histogram, &mut any);
    let mut pair = Vec::with_capacity(any.len() + 32);
    protobuf::put_bytes(KEY, HISTOGRAM_ATTRIBUTE.as_bytes(), &mut pair);
    protobuf::put_bytes(VALUE, &any, &mut pair);
    protobuf::put_bytes(NUMBER_ATTRIBUTES, &pair, out);
}

/// Converts a histogram to its remote-write message.
fn remote_write_message(histogram: &Histogram) -> v1::Histogram {
    let spans = |spans: &[Span]| -> Vec<_> {
        let spans = spans.iter();
        spans
            .map(|span| v1::BucketSpan {
                offset: span.offset,
                length: span.length,
            })
            .collect()
    };
    let hint = if histogram.gauge {
        histogram::ResetHint::Gauge
    } else {
        histogram::ResetHint::Unknown
    };
    let mut message = v1::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative_spans),
        positive_spans: spans(&histogram.positive_spans),
        reset_hint: hint.into(),
        custom_values: histogram.custom_values.clone(),
        ..v1::Histogram::default()
    };
    match &histogram.counts {
        Counts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        } => {
            message.count = Some(histogram::Count::CountInt(*count));
            message.zero_count = Some(histogram::ZeroCount::ZeroCountInt(*zero_count));
            message.positive_deltas.clone_from(positive_deltas);
            message.negative_deltas.clone_from(negative_deltas);
        }
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            message.count = Some(histogram::Count::CountFloat(*count));
            message.zero_count = Some(histogram::ZeroCount::ZeroCountFloat(*zero_count));
            message.positive_counts.clone_from(positive);
            message.negative_counts.clone_from(negative);
        }
    }
    message
}
