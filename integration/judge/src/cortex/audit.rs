//! Whether a Cortex holds what the stand-in before it says that it holds, and has
//! counted the same.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::labels::Labels;

use harness::cortex_server::Cortex;
use stand_ins::amp::{Backend, Outcome, Series};
use crate::parity::{Comparable, comparable};

/// How long a Cortex has counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counters {
    /// Since the stand-in's first request.
    Whole,
    /// Since it was started again.
    Part,
}

/// Counts what distributors and ingesters refuse. Each has a counter of this name, and a
/// Cortex that is both shows the one that happened to be registered first.
const DISCARDED: &str = "cortex_discarded_samples_total";
/// What only distributors count: it is sent again, and refused by nobody in the end.
const RATE_LIMITED: &str = "reason=\"rate_limited\"";

/// What differs between all that it holds and has counted, and what the stand-in
/// says through which all of it was written, in words.
///
/// # Errors
/// Where it does not answer.
pub(crate) async fn audit(cortex: &Cortex, backend: &Backend) -> anyhow::Result<Vec<String>> {
    audit_with(cortex, backend, Counters::Whole).await
}

pub(super) async fn audit_with(
    cortex: &Cortex,
    backend: &Backend,
    counters: Counters,
) -> anyhow::Result<Vec<String>> {
    let (theirs, ours) = (cortex.read_all().await?, backend.stored());
    let mut complaints = compare(&samples(&theirs), &samples(&ours));
    complaints.extend(backend.disagreements());
    if counters == Counters::Whole {
        complaints.extend(self::counters(cortex, backend).await?);
    }
    Ok(complaints)
}

async fn counters(cortex: &Cortex, backend: &Backend) -> anyhow::Result<Vec<String>> {
    let totals = backend.totals();
    let refused = [
        Outcome::Conflict,
        Outcome::OutOfOrder,
        Outcome::TooOld,
        Outcome::Refused,
    ];
    let refused: u64 = refused.map(|outcome| totals.of(outcome)).iter().sum();
    let limited = cortex.counted_where(DISCARDED, RATE_LIMITED).await?;
    let discarded = cortex.counted(DISCARDED).await? - limited;
    let deduplicated = totals.of(Outcome::Deduplicated);
    let mut differences = Vec::new();
    // Nothing at all is what distributors refuse of a mesh's samples.
    if discarded != refused as f64 && discarded != 0.0 {
        differences.push(format!("{DISCARDED} is {discarded}, expected {refused}"));
    }
    for (name, expected) in [
        ("cortex_distributor_deduped_samples_total", deduplicated),
        (
            "cortex_ha_tracker_elected_replica_changes_total",
            backend.elections(),
        ),
    ] {
        let counted = cortex.counted(name).await?;
        if counted != expected as f64 {
            differences.push(format!("{name} is {counted}, expected {expected}"));
        }
    }
    Ok(differences)
}

/// Samples by series and time.
type Samples<'a> = BTreeMap<&'a Labels, BTreeMap<i64, Comparable>>;

fn samples(all: &[Series]) -> Samples<'_> {
    let all = all.iter().map(|series| {
        let samples = series.samples.iter();
        let samples = samples.map(|s| (s.timestamp, comparable(&s.value)));
        (&series.labels, samples.collect())
    });
    all.collect()
}

fn compare(theirs: &Samples<'_>, ours: &Samples<'_>) -> Vec<String> {
    let mut differences = Vec::new();
    let nothing = BTreeMap::new();
    let all: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for labels in all {
        let theirs = theirs.get(labels).unwrap_or(&nothing);
        let ours = ours.get(labels).unwrap_or(&nothing);
        let times: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for time in times {
            let what = match (theirs.get(time), ours.get(time)) {
                (Some(theirs), Some(ours)) if theirs == ours => continue,
                (Some(theirs), Some(ours)) => format!("is {theirs}, was written as {ours}"),
                (Some(_), None) => "was never written".to_owned(),
                (None, _) => "is lost".to_owned(),
            };
            differences.push(format!("Cortex: {labels} at {time} {what}"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use mesh_model::labels::METRIC_NAME;

    use super::*;
    use stand_ins::amp::{Sample, Value};

    fn series(name: &str, values: &[(i64, f64)]) -> Series {
        let samples = values.iter().map(|&(timestamp, value)| Sample {
            timestamp,
            value: Value::Float(value.to_bits()),
        });
        Series {
            labels: Labels::from_iter([(METRIC_NAME, name)]),
            samples: samples.collect(),
        }
    }

    #[test]
    fn every_sample_counts() {
        let differences = |theirs: &[Series], ours: &[Series]| {
            let all = compare(&samples(theirs), &samples(ours));
            all.into_iter()
                .map(|text| text.rsplit(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let both = [series("a", &[(1, 0.0), (2, 1.0)]), series("b", &[(1, 1.0)])];
        assert!(differences(&both, &both).is_empty());
        assert_eq!(differences(&both[..1], &both), ["lost"]);
        assert_eq!(differences(&both, &both[..1]), ["written"]);
        let negative = [series("a", &[(1, -0.0), (2, 1.0)]), both[1].clone()];
        assert_eq!(differences(&both, &negative).len(), 1);
    }
}
