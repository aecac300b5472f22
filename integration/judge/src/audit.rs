//! Compares what a Cortex stores and counts with the ledger of the stand-in in front of it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::labels::Labels;

use crate::comparable::{Comparable, comparable};
use harness::cortex_server::Cortex;
use stand_ins::amp::{Backend, Outcome, Series};

/// Start of a Cortex's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterScope {
    /// Counters that include the stand-in's first request.
    SinceStart,
    /// Counters that start at the restart of Cortex.
    SinceRestart,
}

/// Counter of refused samples. Distributors and ingesters each have one of this name. A
/// Cortex that is both shows the one that was registered first.
const DISCARDED: &str = "cortex_discarded_samples_total";
/// Reason that only distributors count. The mesh sends these samples again until they are
/// accepted.
const RATE_LIMITED: &str = "reason=\"rate_limited\"";

/// Describes the differences between a Cortex and the ledger of the stand-in in front of
/// it.
///
/// # Errors
/// Returns an error if Cortex does not respond.
pub(crate) async fn audit(cortex: &Cortex, backend: &Backend) -> anyhow::Result<Vec<String>> {
    audit_with(cortex, backend, CounterScope::SinceStart).await
}

pub(crate) async fn audit_with(
    cortex: &Cortex,
    backend: &Backend,
    counter_scope: CounterScope,
) -> anyhow::Result<Vec<String>> {
    let (theirs, ours) = (cortex.read_all().await?, backend.stored());
    let mut violations = differences(&samples(&theirs), &samples(&ours));
    violations.extend(backend.disagreements());
    if counter_scope == CounterScope::SinceStart {
        violations.extend(compare_counters(cortex, backend).await?);
    }
    Ok(violations)
}

async fn compare_counters(cortex: &Cortex, backend: &Backend) -> anyhow::Result<Vec<String>> {
    let totals = backend.totals();
    let refused = [
        Outcome::Conflict,
        Outcome::OutOfOrder,
        Outcome::TooOld,
        Outcome::Refused,
    ];
    let refused: u64 = refused.map(|outcome| totals.of(outcome)).iter().sum();
    let limited = cortex.metric_where(DISCARDED, RATE_LIMITED).await?;
    let discarded = cortex.metric(DISCARDED).await? - limited;
    let deduplicated = totals.of(Outcome::Deduplicated);
    let mut differences = Vec::new();
    // Distributors refuse no sample of a mesh, so their counter is 0.
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
        let counted = cortex.metric(name).await?;
        if counted != expected as f64 {
            differences.push(format!("{name} is {counted}, expected {expected}"));
        }
    }
    Ok(differences)
}

/// Samples by series and timestamp.
type Samples<'a> = BTreeMap<&'a Labels, BTreeMap<i64, Comparable>>;

fn samples(all: &[Series]) -> Samples<'_> {
    let all = all.iter().map(|series| {
        let samples = series.samples.iter();
        let samples = samples.map(|s| (s.timestamp, comparable(&s.value)));
        (&series.labels, samples.collect())
    });
    all.collect()
}

fn differences(theirs: &Samples<'_>, ours: &Samples<'_>) -> Vec<String> {
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
    fn reports_every_different_sample() {
        let last_words = |theirs: &[Series], ours: &[Series]| {
            let all = differences(&samples(theirs), &samples(ours));
            all.into_iter()
                .map(|text| text.rsplit(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let both = [series("a", &[(1, 0.0), (2, 1.0)]), series("b", &[(1, 1.0)])];
        assert!(last_words(&both, &both).is_empty());
        assert_eq!(last_words(&both[..1], &both), ["lost"]);
        assert_eq!(last_words(&both, &both[..1]), ["written"]);
        let negative = [series("a", &[(1, -0.0), (2, 1.0)]), both[1].clone()];
        assert_eq!(last_words(&both, &negative).len(), 1);
    }
}
