//! Classic histograms, each a `HistogramDataPoint`.

use mesh::wire;

use super::{
    attributes::{self, HISTOGRAM_ATTRIBUTES},
    exemplar,
    grouping::{self, Group},
    number,
};
use crate::{
    exposition::Exemplar,
    scrape::{cache::Role, sample::Sample},
};

const COUNT: u32 = 4;
const SUM: u32 = 5;
const BUCKET_COUNTS: u32 = 6;
const EXPLICIT_BOUNDS: u32 = 7;
const EXEMPLARS: u32 = 8;

/// Whether the samples of a group can be told from one point: all buckets with
/// bounds and counts going up to `+Inf` and the count, one sum, one count, and
/// exemplars that are in the buckets they stand at.
pub(super) fn is_regular(group: Group<'_>) -> bool {
    let (Some(count), Some(sum)) = (group.count(), group.sum()) else {
        return false;
    };
    let Some(total) = grouping::count(count) else {
        return false;
    };
    let (mut below, mut before) = (f64::NEG_INFINITY, 0);
    for (sample, bound) in buckets(group) {
        let Some(cumulative) = grouping::count(sample) else {
            return false;
        };
        let inside = |exemplar: &Exemplar| exemplar.value > below && exemplar.value <= bound;
        let goes_up = bound > below && cumulative >= before;
        if !goes_up || !group.exemplars(sample).iter().all(inside) {
            return false;
        }
        (below, before) = (bound, cumulative);
    }
    let plain = count.exemplars.is_empty() && sum.exemplars.is_empty();
    plain && below == f64::INFINITY && before == total
}

/// Writes the point of a regular group.
pub(super) fn put(group: Group<'_>, out: &mut Vec<u8>) {
    number::put_times(group.first(), out);
    let total = group.count().and_then(grouping::count).unwrap_or_default();
    wire::put_fixed64(COUNT, total, out);
    let sum = group.sum().and_then(|sum| sum.value.as_float());
    wire::put_double(SUM, sum.unwrap_or_default(), out);
    let buckets_len = buckets(group).count();
    wire::put_header(BUCKET_COUNTS, buckets_len * 8, out);
    let mut before = 0;
    for (sample, _) in buckets(group) {
        let cumulative = grouping::count(sample).unwrap_or(before);
        out.extend_from_slice(&(cumulative - before).to_le_bytes());
        before = cumulative;
    }
    // The last bound is +Inf, which OTLP does not list.
    wire::put_header(EXPLICIT_BOUNDS, (buckets_len - 1) * 8, out);
    for (_, bound) in buckets(group).take(buckets_len - 1) {
        out.extend_from_slice(&bound.to_le_bytes());
    }
    for (sample, _) in buckets(group) {
        exemplar::put(EXEMPLARS, group.exemplars(sample), out);
    }
    attributes::put_as(HISTOGRAM_ATTRIBUTES, group.attributes(), out);
}

/// The buckets of a group, with their upper bounds.
fn buckets(group: Group<'_>) -> impl Iterator<Item = (&Sample, f64)> {
    group.samples().filter_map(|(sample, role)| match role {
        Role::Bucket { bound, .. } => Some((sample, bound)),
        _ => None,
    })
}
