//! Encodes each classic histogram as one `HistogramDataPoint`.

use mesh_wire::protobuf;

use super::{
    exemplar,
    group::{self, Group},
    number,
};
use crate::{
    exposition::Exemplar,
    samples::{Role, Sample, attributes::HISTOGRAM_ATTRIBUTES},
};

const COUNT: u32 = 4;
const SUM: u32 = 5;
const BUCKET_COUNTS: u32 = 6;
const EXPLICIT_BOUNDS: u32 = 7;
const EXEMPLARS: u32 = 8;

/// Returns true if one data point can represent all samples of the group.
///
/// The group needs one sum and one count. The bounds of its buckets increase up to
/// `+Inf`, and their counts never decrease and end at the count. Each exemplar lies
/// within the bounds of its bucket.
pub(super) fn is_lossless(group: Group<'_>) -> bool {
    let (Some(count), Some(sum)) = (group.count(), group.sum()) else {
        return false;
    };
    let Some(total) = group::exact_count(count) else {
        return false;
    };
    let (mut lower_bound, mut previous) = (f64::NEG_INFINITY, 0);
    for (sample, bound) in buckets(group) {
        let Some(cumulative) = group::exact_count(sample) else {
            return false;
        };
        let inside = |exemplar: &Exemplar| exemplar.value > lower_bound && exemplar.value <= bound;
        let is_ordered = bound > lower_bound && cumulative >= previous;
        if !is_ordered || !group.exemplars(sample).iter().all(inside) {
            return false;
        }
        (lower_bound, previous) = (bound, cumulative);
    }
    let no_other_exemplars = count.exemplars.is_empty() && sum.exemplars.is_empty();
    no_other_exemplars && lower_bound == f64::INFINITY && previous == total
}

/// Writes the data point of a lossless group.
pub(super) fn put(group: Group<'_>, out: &mut Vec<u8>) {
    number::put_times(group.first(), out);
    let total = group
        .count()
        .and_then(group::exact_count)
        .unwrap_or_default();
    protobuf::put_fixed64(COUNT, total, out);
    let sum = group.sum().and_then(|sum| sum.value.as_float());
    protobuf::put_double(SUM, sum.unwrap_or_default(), out);
    let buckets_len = buckets(group).count();
    protobuf::put_header(BUCKET_COUNTS, buckets_len * 8, out);
    let mut previous = 0;
    for (sample, _) in buckets(group) {
        let cumulative = group::exact_count(sample).unwrap_or(previous);
        out.extend_from_slice(&(cumulative - previous).to_le_bytes());
        previous = cumulative;
    }
    // The last bound is +Inf, which OTLP omits.
    protobuf::put_header(EXPLICIT_BOUNDS, (buckets_len - 1) * 8, out);
    for (_, bound) in buckets(group).take(buckets_len - 1) {
        out.extend_from_slice(&bound.to_le_bytes());
    }
    for (sample, _) in buckets(group) {
        exemplar::put(EXEMPLARS, group.exemplars(sample), out);
    }
    group.attributes().put_as(HISTOGRAM_ATTRIBUTES, out);
}

/// Buckets of a group, each with its upper bound.
fn buckets(group: Group<'_>) -> impl Iterator<Item = (&Sample, f64)> {
    group.samples().filter_map(|(sample, role)| match role {
        Role::Bucket { bound, .. } => Some((sample, bound)),
        _ => None,
    })
}
