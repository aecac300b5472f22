//! Which samples make one histogram or summary.
//!
//! The samples of one label set of a classic histogram become one point where
//! they can be told from that point again, to the bit and to the label. Where
//! anything is odd they stay what they are: a target may leave a bucket out, give
//! it twice, or count in fractions, and Prometheus stores that as it is.

use super::{classic, summary};
use crate::{
    exposition::{Exemplar, MetricType},
    scrape::{
        Appended,
        cache::Role,
        sample::{Sample, SampleValue},
    },
};

/// Samples that make one point, in the order in which they were appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    appended: &'a Appended<'a>,
    members: &'a [Member],
}

/// A sample that may be a part of a point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The group, in the order of their first samples.
    group: u32,
    pub(super) sample: u32,
}

/// What a sample becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A point of its own.
    Alone,
    /// With it the point of a group is written: where the group's members begin
    /// and end.
    First(usize, usize),
    /// It is in a point that was written with another sample.
    Written,
}

/// The largest count that all integers below are exact as a float.
const MAX_COUNT: f64 = (1_u64 << 53) as f64;

/// Decides for each sample of `round`; those of other rounds count as written.
pub(super) fn fates(appended: &Appended<'_>, round: u32) -> (Vec<Member>, Vec<Fate>) {
    let members = members(appended, round);
    let in_round = |sample: &Sample| match sample.round == round {
        true => Fate::Alone,
        false => Fate::Written,
    };
    let mut fates: Vec<_> = appended.samples.iter().map(in_round).collect();
    let mut start = 0;
    for group in members.chunk_by(|one, other| one.group == other.group) {
        let end = start + group.len();
        if is_regular(Group::new(appended, group)) {
            for member in group {
                fates[member.sample as usize] = Fate::Written;
            }
            fates[group[0].sample as usize] = Fate::First(start, end);
        }
        start = end;
    }
    (members, fates)
}

/// All samples that may be a part of a point, group by group.
fn members(appended: &Appended<'_>, round: u32) -> Vec<Member> {
    let series = &appended.cache.series;
    let mut order: Vec<Option<u32>> = vec![None; series.groups()];
    let mut groups = 0;
    let mut members = Vec::new();
    for (number, sample) in (0_u32..).zip(&appended.samples) {
        let Some(group) = group_of(appended, sample).filter(|_| sample.round == round) else {
            continue;
        };
        let group = *order[group as usize].get_or_insert_with(|| {
            groups += 1;
            groups
        });
        members.push(Member {
            group,
            sample: number,
        });
    }
    // Stable, and little to do: samples of one group mostly stand together.
    members.sort_by_key(|member| member.group);
    members
}

fn group_of(appended: &Appended<'_>, sample: &Sample) -> Option<u32> {
    if !matches!(sample.value, SampleValue::Float(_)) {
        return None;
    }
    let role = appended.cache.series.get(sample.series).role;
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

fn is_regular(group: Group<'_>) -> bool {
    let first = group.first();
    let alike = |sample: &Sample| {
        sample.time_ms == first.time_ms
            && sample.start_ms == first.start_ms
            && sample.family == first.family
    };
    group.samples().all(|(sample, _)| alike(sample))
        && match group.metric_type() {
            Some(MetricType::Histogram) => classic::is_regular(group),
            Some(MetricType::Summary) => summary::is_regular(group),
            _ => false,
        }
}

/// The integer that a count is, where it is one.
pub(super) fn count(sample: &Sample) -> Option<u64> {
    let value = sample.value.as_float()?;
    let count = value as u64;
    // Not so for fractions, negative zero, NaN and anything out of range.
    let exact = (count as f64).to_bits() == value.to_bits() && value <= MAX_COUNT;
    exact.then_some(count)
}

// === impl Group ===

impl<'a> Group<'a> {
    pub(super) fn new(appended: &'a Appended<'a>, members: &'a [Member]) -> Self {
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

    /// The samples and what each is in the group.
    pub(super) fn samples(self) -> impl Iterator<Item = (&'a Sample, Role)> {
        self.members.iter().map(move |member| {
            let sample = &self.appended.samples[member.sample as usize];
            (sample, self.appended.cache.series.get(sample.series).role)
        })
    }

    /// The sample named `_count`.
    pub(super) fn count(self) -> Option<&'a Sample> {
        self.one(|role| matches!(role, Role::Count { .. }))
    }

    /// The sample named `_sum`.
    pub(super) fn sum(self) -> Option<&'a Sample> {
        self.one(|role| matches!(role, Role::Sum { .. }))
    }

    /// The only sample of its role.
    fn one(self, is: impl Fn(Role) -> bool) -> Option<&'a Sample> {
        let mut found = self.samples().filter(|(_, role)| is(*role));
        let (sample, _) = found.next()?;
        found.next().is_none().then_some(sample)
    }

    /// The exemplars of one of the samples.
    pub(super) fn exemplars(self, sample: &Sample) -> &'a [Exemplar] {
        self.appended.exemplars_of(sample)
    }

    /// The number of the name that all samples have before their suffixes.
    pub(super) fn name(self) -> u32 {
        let group = group_of(self.appended, self.first()).unwrap_or_default();
        self.appended.cache.series.group_name(group)
    }

    /// Labels of the group: `_count` has no others.
    pub(super) fn attributes(self) -> &'a [u8] {
        let labelled = self.count().unwrap_or(self.first());
        self.appended.cache.series.attributes_of(labelled.series)
    }
}
