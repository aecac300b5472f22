//! The exemplars of a sample.

use std::{cmp::Ordering, ops::Range};

use crate::{
    exposition::{Exemplar, Parser},
    scrape::sample::{Sample, SampleValue},
};

/// Adds the exemplars of the sample that the parser returned last, the oldest
/// first, each with a time.
pub(super) fn read(
    parser: &mut impl Parser,
    sample: &Sample,
    exemplars: &mut Vec<Exemplar>,
) -> Range<usize> {
    let start = exemplars.len();
    while let Some(mut exemplar) = parser.exemplar() {
        // Exemplars of native histograms are told apart by their times, so that
        // one without is of no use.
        let is_histogram = matches!(sample.value, SampleValue::Histogram(_));
        if exemplar.timestamp.is_none() && is_histogram {
            continue;
        }
        exemplar.timestamp.get_or_insert(sample.time_ms);
        exemplar.labels.sort();
        exemplars.push(exemplar);
    }
    exemplars[start..].sort_by(compare);
    start..exemplars.len()
}

fn compare(one: &Exemplar, other: &Exemplar) -> Ordering {
    let by_value = || {
        one.value
            .partial_cmp(&other.value)
            .unwrap_or(Ordering::Equal)
    };
    let by_time = one.timestamp.cmp(&other.timestamp);
    by_time
        .then_with(by_value)
        .then_with(|| one.labels.cmp(&other.labels))
}
