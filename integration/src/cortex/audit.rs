//! Whether a Cortex holds what the stand-in before it says that it holds, and has
//! counted the same.

use std::collections::{BTreeMap, BTreeSet};

use mesh::labels::Labels;

use super::Cortex;
use crate::{
    amp::{Backend, Outcome, Series},
    parity::{Comparable, comparable},
};

/// Compares a tenant of a Cortex with the stand-in through which all was written.
///
/// # Errors
/// Where Cortex does not answer.
pub(super) async fn contents(
    cortex: &Cortex,
    tenant: &str,
    backend: &Backend,
) -> anyhow::Result<Vec<String>> {
    let (theirs, ours) = (cortex.read_all(tenant).await?, backend.stored());
    Ok(compare(&samples(&theirs), &samples(&ours)))
}

/// Compares what the living process has counted for a tenant; it forgets that when it
/// is started again.
///
/// # Errors
/// Where Cortex does not answer.
pub(super) async fn counters(
    cortex: &Cortex,
    tenant: &str,
    backend: &Backend,
) -> anyhow::Result<Vec<String>> {
    let (metrics, totals) = (cortex.metrics().await?, backend.totals());
    let of_tenant = format!("user=\"{tenant}\"");
    let refused = [
        Outcome::Conflict,
        Outcome::OutOfOrder,
        Outcome::TooOld,
        Outcome::Refused,
    ];
    let refused = refused.map(|outcome| totals.of(outcome)).iter().sum();
    let counts = [
        ("cortex_discarded_samples_total", refused),
        (
            "cortex_distributor_deduped_samples_total",
            totals.of(Outcome::Deduplicated),
        ),
        (
            "cortex_ha_tracker_elected_replica_changes_total",
            backend.elections(),
        ),
    ];
    let differences = counts.into_iter().filter_map(|(name, expected)| {
        let counted = metrics.sum_where(name, &of_tenant);
        (counted != expected as f64).then(|| format!("{name} is {counted}, expected {expected}"))
    });
    Ok(differences.collect())
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
    use mesh::labels::METRIC_NAME;

    use super::*;
    use crate::amp::{Sample, Value};

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
