//! Summaries, each a `SummaryDataPoint`.

use mesh::wire;

use super::{
    grouping::{self, Group},
    number,
};
use crate::scrape::{cache::Role, sample::Sample};

const COUNT: u32 = 4;
const SUM: u32 = 5;
const QUANTILE_VALUES: u32 = 6;
/// `ValueAtQuantile.quantile` and `ValueAtQuantile.value`.
const QUANTILE: u32 = 1;
const VALUE: u32 = 2;

/// Whether the samples of a group can be told from one point: quantiles going up,
/// one sum, one count, and no exemplars, for which OTLP has no place here.
pub(super) fn is_regular(group: Group<'_>) -> bool {
    let quantiles: Vec<_> = quantiles(group).map(|(_, quantile)| quantile).collect();
    group.count().and_then(grouping::count).is_some()
        && group.sum().is_some()
        && group.len() == quantiles.len() + 2
        && quantiles.is_sorted_by(|one, other| one < other)
        && group
            .samples()
            .all(|(sample, _)| sample.exemplars.is_empty())
}

/// Writes the point of a regular group.
pub(super) fn put(group: Group<'_>, out: &mut Vec<u8>) {
    number::put_times(group.first(), out);
    let total = group.count().and_then(grouping::count).unwrap_or_default();
    wire::put_fixed64(COUNT, total, out);
    let sum = group.sum().and_then(|sum| sum.value.as_float());
    wire::put_double(SUM, sum.unwrap_or_default(), out);
    for (sample, quantile) in quantiles(group) {
        wire::put_header(QUANTILE_VALUES, 2 * wire::FIXED64_LEN, out);
        wire::put_double(QUANTILE, quantile, out);
        wire::put_double(VALUE, sample.value.as_float().unwrap_or_default(), out);
    }
    out.extend_from_slice(group.attributes());
}

/// The quantiles of a group.
fn quantiles(group: Group<'_>) -> impl Iterator<Item = (&Sample, f64)> {
    group.samples().filter_map(|(sample, role)| match role {
        Role::Quantile { quantile, .. } => Some((sample, quantile)),
        _ => None,
    })
}
