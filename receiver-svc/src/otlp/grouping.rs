//! Decides which samples share one histogram or summary data point.
//!
//! A classic histogram or summary becomes one data point if the exporter can restore
//! every sample from it: the same bits and the same labels. Otherwise each sample
//! becomes its own data point. A target may omit a bucket, repeat one, or expose
//! fractional counts, and Prometheus stores such samples unchanged.

use super::{
    classic,
    group::{self, Group, GroupMember},
    summary,
};
use crate::{
    exposition::MetricType,
    samples::{AppendedSamples, Sample},
};

/// Data point that a sample is emitted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emission {
    /// The sample becomes its own data point.
    Single,
    /// The sample is the first of a group that becomes one data point. The range
    /// selects the group's members.
    Group { start: usize, end: usize },
    /// Another sample or another round emits the sample.
    Skip,
}

/// Maximum bytes of the labels of all samples of a group. The exporter writes them for each
/// sample, so a larger group would be many times as large there as its data point.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// Chooses the emission of each sample. Samples outside `round` are skipped.
pub(super) fn emissions(
    appended: &AppendedSamples<'_>,
    round: u32,
) -> (Vec<GroupMember>, Vec<Emission>) {
    let members = group_members(appended, round);
    let initial = |sample: &Sample| {
        if sample.round == round {
            Emission::Single
        } else {
            Emission::Skip
        }
    };
    let mut emissions: Vec<_> = appended.samples.iter().map(initial).collect();
    let mut start = 0;
    for group in members.chunk_by(|one, other| one.group == other.group) {
        let end = start + group.len();
        let points = Group::new(appended, group);
        if points.labels_len() <= MAX_GROUP_BYTES && is_lossless(points) {
            for member in group {
                emissions[member.sample as usize] = Emission::Skip;
            }
            emissions[group[0].sample as usize] = Emission::Group { start, end };
        }
        start = end;
    }
    (members, emissions)
}

/// Lists the samples of `round` that may share a data point, group by group.
fn group_members(appended: &AppendedSamples<'_>, round: u32) -> Vec<GroupMember> {
    let mut ranks: Vec<Option<u32>> = vec![None; appended.series.groups()];
    let mut groups = 0;
    let mut members = Vec::new();
    for (number, sample) in (0_u32..).zip(&appended.samples) {
        let Some(group) = group::group_of(appended, sample).filter(|_| sample.round == round)
        else {
            continue;
        };
        let group = *ranks[group as usize].get_or_insert_with(|| {
            groups += 1;
            groups
        });
        members.push(GroupMember {
            group,
            sample: number,
        });
    }
    // Cheap: the samples of a group are usually adjacent. Stable: keeps their order.
    members.sort_by_key(|member| member.group);
    members
}

/// Returns true if one data point can represent all samples of the group.
fn is_lossless(group: Group<'_>) -> bool {
    let first = group.first();
    let matches_first = |sample: &Sample| {
        sample.time_ms == first.time_ms
            && sample.start_ms == first.start_ms
            && sample.family == first.family
    };
    group.samples().all(|(sample, _)| matches_first(sample))
        && match group.metric_type() {
            Some(MetricType::Histogram) => classic::is_lossless(group),
            Some(MetricType::Summary) => summary::is_lossless(group),
            _ => false,
        }
}
