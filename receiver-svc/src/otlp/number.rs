//! Samples that stand for themselves, each a `NumberDataPoint`.

use mesh::wire::{self, FieldType};

use super::{exemplar, time};
use crate::{
    exposition::Exemplar,
    scrape::sample::{Sample, SampleValue},
};

const START: u32 = 2;
const TIME: u32 = 3;
const AS_DOUBLE: u32 = 4;
const EXEMPLARS: u32 = 5;
const FLAGS: u32 = 8;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`: the series has ended.
const NO_RECORDED_VALUE: u64 = 1;

/// Whether all of the sample's point has a fixed length but its attributes, so
/// that it need not be written to know how long it is. Nearly all do.
pub(super) fn is_simple(sample: &Sample) -> bool {
    sample.exemplars.is_empty() && !matches!(sample.value, SampleValue::Histogram(_))
}

/// How long the point of a simple sample is.
pub(super) fn simple_len(attributes: &[u8], sample: &Sample) -> usize {
    let start = time::start_nanos(sample.start_ms).map_or(0, |_| wire::FIXED64_LEN);
    let value = match sample.value {
        SampleValue::Stale => 2,
        _ => wire::FIXED64_LEN,
    };
    start + wire::FIXED64_LEN + value + attributes.len()
}

/// Writes the point of a float sample or a staleness marker.
pub(super) fn put(attributes: &[u8], sample: &Sample, exemplars: &[Exemplar], out: &mut Vec<u8>) {
    put_times(sample, out);
    match &sample.value {
        SampleValue::Float(value) => wire::put_double(AS_DOUBLE, *value, out),
        SampleValue::Stale => {
            wire::put_key(FLAGS, FieldType::Varint, out);
            wire::put_varint(NO_RECORDED_VALUE, out);
        }
        // For stock readers; who knows better finds the histogram elsewhere.
        SampleValue::Histogram(_) => wire::put_double(AS_DOUBLE, f64::NAN, out),
    }
    exemplar::put(EXEMPLARS, exemplars, out);
    out.extend_from_slice(attributes);
}

/// Writes the times of a sample, which are in the same fields for all kinds of
/// points.
pub(super) fn put_times(sample: &Sample, out: &mut Vec<u8>) {
    if let Some(start) = time::start_nanos(sample.start_ms) {
        wire::put_fixed64(START, start, out);
    }
    wire::put_fixed64(TIME, time::sample_nanos(sample.time_ms), out);
}
