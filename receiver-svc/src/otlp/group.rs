//! Float samples that may share one histogram or summary data point.

use crate::{
    exposition::{Exemplar, MetricType},
    samples::{AppendedSamples, Role, Sample, SampleValue, attributes::Attributes},
};

/// Samples of one classic histogram or summary, in the order of the scrape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    appended: &'a AppendedSamples<'a>,
    members: &'a [GroupMember],
}

/// A sample of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupMember {
    /// Rank of the group, by the position of its first sample.
    pub(super) group: u32,
    /// Index of the sample in the scrape.
    pub(super) sample: u32,
}

/// Largest count up to which a float represents every integer exactly.
const MAX_EXACT_COUNT: f64 = (1_u64 << 53) as f64;

/// Returns the cache's ID of the group that a sample may belong to.
///
/// Returns `None` for native histograms, staleness markers, and samples that are
/// not part of a classic histogram or summary.
pub(super) fn group_of(appended: &AppendedSamples<'_>, sample: &Sample) -> Option<u32> {
    if !matches!(sample.value, SampleValue::Float(_)) {
        return None;
    }
    let role = appended.series.get(sample.series).role;
    match (appended.metric_type(sample)?, role) {
        (MetricType::Histogram, Role::Bucket { group, .. })
        | (MetricType::Summary, Role::Quantile { group, .. })
        | (
            MetricType::Histogram | MetricType::Summary,
            Role::Sum { group } | Role::Count { group },
        ) => Some(group),
        _ => None,
    }
}

/// Converts the value of a count or bucket to the same integer, if there is one.
pub(super) fn exact_count(sample: &Sample) -> Option<u64> {
    let value = sample.value.as_float()?;
    let count = value as u64;
    // Rejects fractions, negative zero, NaN and values out of range.
    let exact = (count as f64).to_bits() == value.to_bits() && value <= MAX_EXACT_COUNT;
    exact.then_some(count)
}

// === impl Group ===

impl<'a> Group<'a> {
    /// Wraps the members of one group. `members` is not empty.
    pub(super) fn new(appended: &'a AppendedSamples<'a>, members: &'a [GroupMember]) -> Self {
        Self { appended, members }
    }

    pub(super) fn first(self) -> &'a Sample {
        &self.appended.samples[self.members[0].sample as usize]
    }

    pub(super) fn len(self) -> usize {
        self.members.len()
    }

    pub(super) fn metric_type(self) -> Option<MetricType> {
        self.appended.metric_type(self.first())
    }

    /// Samples of the group, each with its role.
    pub(super) fn samples(self) -> impl Iterator<Item = (&'a Sample, Role)> {
        self.members.iter().map(move |member| {
            let sample = &self.appended.samples[member.sample as usize];
            (sample, self.appended.series.get(sample.series).role)
        })
    }

    /// Returns the `_count` sample, unless there are several.
    pub(super) fn count(self) -> Option<&'a Sample> {
        self.only(|role| matches!(role, Role::Count { .. }))
    }

    /// Returns the `_sum` sample, unless there are several.
    pub(super) fn sum(self) -> Option<&'a Sample> {
        self.only(|role| matches!(role, Role::Sum { .. }))
    }

    /// Returns the sample whose role matches, unless there are several.
    fn only(self, matches: impl Fn(Role) -> bool) -> Option<&'a Sample> {
        let mut found = self.samples().filter(|(_, role)| matches(*role));
        let (sample, _) = found.next()?;
        found.next().is_none().then_some(sample)
    }

    /// Exemplars of one sample of the group.
    pub(super) fn exemplars(self, sample: &Sample) -> &'a [Exemplar] {
        self.appended.exemplars_of(sample)
    }

    /// ID of the metric name without the suffixes of the samples.
    pub(super) fn name(self) -> u32 {
        let group = group_of(self.appended, self.first()).unwrap_or_default();
        self.appended.series.group_name_id(group)
    }

    /// Bytes of the labels of all samples, and at least some for each sample.
    pub(super) fn labels_len(self) -> usize {
        const LABEL: usize = 64;
        self.len()
            * (self
                .appended
                .series
                .attributes_of(self.first().series)
                .len()
                + LABEL)
    }

    /// Encoded labels that all samples share, taken from `_count`, which has no others.
    pub(super) fn attributes(self) -> Attributes<'a> {
        let labelled = self.count().unwrap_or(self.first());
        self.appended.series.attributes_of(labelled.series)
    }
}
