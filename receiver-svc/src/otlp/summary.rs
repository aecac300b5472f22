//! Encodes each summary as one `SummaryDataPoint`.

use mesh_wire::protobuf;

use super::{
    group::{self, Group},
    number,
};
use crate::samples::{Role, Sample};

const COUNT: u32 = 4;
const SUM: u32 = 5;
const QUANTILE_VALUES: u32 = 6;
/// `ValueAtQuantile.quantile` and `ValueAtQuantile.value`.
const QUANTILE: u32 = 1;
const VALUE: u32 = 2;

/// Returns true if one data point can represent all samples of the group.
///
/// The group needs one sum, one count and increasing quantiles. It has no exemplars,
/// because a `SummaryDataPoint` cannot carry them.
pub(super) fn is_lossless(group: Group<'_>) -> bool {
    let quantiles: Vec<_> = quantiles(group).map(|(_, quantile)| quantile).collect();
    group.count().and_then(group::exact_count).is_some()
        && group.sum().is_some()
        && group.len() == quantiles.len() + 2
        && quantiles.is_sorted_by(|one, other| one < other)
        && group
            .samples()
            .all(|(sample, _)| sample.exemplars.is_empty())
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
    for (sample, quantile) in quantiles(group) {
        protobuf::put_header(QUANTILE_VALUES, 2 * protobuf::FIXED64_LEN, out);
        protobuf::put_double(QUANTILE, quantile, out);
        protobuf::put_double(VALUE, sample.value.as_float().unwrap_or_default(), out);
    }
    group.attributes().put(out);
}

/// Quantile samples of a group, each with its quantile.
fn quantiles(group: Group<'_>) -> impl Iterator<Item = (&Sample, f64)> {
    group.samples().filter_map(|(sample, role)| match role {
        Role::Quantile { quantile, .. } => Some((sample, quantile)),
        _ => None,
    })
}
