//! Reads the exemplars of a sample.

use std::{cmp::Ordering, ops::Range};

use crate::{
    exposition::{Exemplar, Parser},
    samples::{Sample, SampleValue},
};

/// Appends the exemplars of the parser's current sample, sorted by time, and returns
/// their range. An exemplar without a timestamp gets that of the sample.
pub(super) fn read(
    parser: &mut impl Parser,
    sample: &Sample,
    exemplars: &mut Vec<Exemplar>,
) -> Range<usize> {
    let start = exemplars.len();
    while let Some(mut exemplar) = parser.exemplar() {
        // Prometheus skips exemplars of native histograms that have no timestamp.
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
