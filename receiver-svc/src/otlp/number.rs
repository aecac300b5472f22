//! Encodes a single sample as one `NumberDataPoint`.

use mesh_wire::protobuf::{self, FieldType};

use super::{exemplar, time};
use crate::{
    exposition::Exemplar,
    samples::{Sample, SampleValue, attributes::Attributes},
};

const START: u32 = 2;
const TIME: u32 = 3;
const AS_DOUBLE: u32 = 4;
const EXEMPLARS: u32 = 5;
const FLAGS: u32 = 8;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`, the staleness marker.
const NO_RECORDED_VALUE: u64 = 1;

/// Returns true if only the attributes of the sample's data point vary in length.
///
/// The plan then computes the length without encoding the point. This holds for
/// nearly all samples.
pub(super) fn has_fixed_len(sample: &Sample) -> bool {
    sample.exemplars.is_empty() && !matches!(sample.value, SampleValue::Histogram(_))
}

/// Length in bytes of the data point of a sample for which [`has_fixed_len`] holds.
pub(super) fn fixed_len(attributes: Attributes<'_>, sample: &Sample) -> usize {
    let start = time::start_nanos(sample.start_ms).map_or(0, |_| protobuf::FIXED64_LEN);
    let value = match sample.value {
        SampleValue::Stale => 2,
        _ => protobuf::FIXED64_LEN,
    };
    start + protobuf::FIXED64_LEN + value + attributes.len()
}

/// Writes the data point of a float sample or a staleness marker.
pub(super) fn put(
    attributes: Attributes<'_>,
    sample: &Sample,
    exemplars: &[Exemplar],
    out: &mut Vec<u8>,
) {
    put_times(sample, out);
    match &sample.value {
        SampleValue::Float(value) => protobuf::put_double(AS_DOUBLE, *value, out),
        SampleValue::Stale => {
            protobuf::put_key(FLAGS, FieldType::Varint, out);
            protobuf::put_varint(NO_RECORDED_VALUE, out);
        }
        // Other OTLP readers see NaN; the exporter reads the histogram attribute.
        SampleValue::Histogram(_) => protobuf::put_double(AS_DOUBLE, f64::NAN, out),
    }
    exemplar::put(EXEMPLARS, exemplars, out);
    attributes.put(out);
}

/// Writes the start time and the time of a sample. All data point types use the same
/// fields for them.
pub(super) fn put_times(sample: &Sample, out: &mut Vec<u8>) {
    if let Some(start) = time::start_nanos(sample.start_ms) {
        protobuf::put_fixed64(START, start, out);
    }
    protobuf::put_fixed64(TIME, time::sample_nanos(sample.time_ms), out);
}
