//! Ledger of the samples that were sent, and its comparison with a server.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::labels::METRIC_NAME;
use stand_ins::amp::{Series, Value};

use super::{server::Running, writer::METRIC};

/// Kind of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In order, with a new timestamp.
    Good,
    /// Older than the newest sample of its series.
    OutOfOrder,
    /// At the timestamp of an earlier sample, with another value.
    Conflict,
    /// Older than the database accepts.
    TooOld,
    /// Further in the future than the database accepts.
    Future,
    /// With a label name that has a blank.
    Utf8,
}

/// A sample that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Job and series.
    pub(super) series: (String, String),
    pub(super) time_ms: i64,
    pub(super) value: f64,
    pub(super) kind: Kind,
}

/// Samples that were sent, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Vec<Sent>);

/// Comparison of a ledger with a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    pub(super) good: usize,
    /// Good samples that the server lacks.
    pub(super) missing: usize,
    pub(super) bad: usize,
    /// Bad samples that the server has.
    pub(super) bad_stored: usize,
    /// Bad samples that the server refuses by its rules.
    pub(super) refusable: usize,
    pub(super) violations: Vec<String>,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn extend(&mut self, sent: impl IntoIterator<Item = Sent>) {
        self.0.extend(sent);
    }

    /// Compares the ledger with the series of a server.
    pub(super) fn judge(&self, stored: &[Series], server: &Running) -> Judgement {
        let refuses = |kind| server.refuses(kind);
        self.judge_with(stored, refuses)
    }

    fn judge_with(&self, stored: &[Series], refuses: impl Fn(Kind) -> bool) -> Judgement {
        let stored = samples(stored);
        let mut known = BTreeSet::new();
        let mut judgement = Judgement::default();
        for sent in &self.0 {
            let key = (&sent.series, sent.time_ms, sent.value.to_bits());
            known.insert(key);
            let is_stored = stored.contains(&(sent.series.clone(), key.1, key.2));
            let is_refused = refuses(sent.kind);
            if sent.kind == Kind::Good {
                judgement.good += 1;
                judgement.missing += usize::from(!is_stored);
            } else {
                judgement.bad += 1;
                judgement.bad_stored += usize::from(is_stored);
                judgement.refusable += usize::from(is_refused);
            }
            if is_stored == is_refused {
                let what = if is_stored { "is stored" } else { "is missing" };
                judgement.violations.push(format!("{sent:?} {what}"));
            }
        }
        for (series, time, bits) in &stored {
            if !known.contains(&(series, *time, *bits)) {
                let value = f64::from_bits(*bits);
                let text = format!("{series:?} has {value} at {time}, which was not sent");
                judgement.violations.push(text);
            }
        }
        judgement
    }
}

/// Job and series, timestamp and value of the samples of the writers.
fn samples(stored: &[Series]) -> BTreeSet<((String, String), i64, u64)> {
    let mut samples = BTreeMap::new();
    let of_writers = |series: &&Series| series.labels.get(METRIC_NAME) == Some(METRIC);
    for series in stored.iter().filter(of_writers) {
        let label = |name| series.labels.get(name).unwrap_or_default().to_owned();
        let key = (label("job"), label("series"));
        for sample in &series.samples {
            if let Value::Float(bits) = sample.value {
                samples.insert((key.clone(), sample.timestamp, bits), ());
            }
        }
    }
    samples.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use mesh_model::labels::Labels;
    use stand_ins::amp::Sample;

    use super::*;

    fn sent(time_ms: i64, value: f64, kind: Kind) -> Sent {
        Sent {
            series: ("w".to_owned(), "1".to_owned()),
            time_ms,
            value,
            kind,
        }
    }

    fn stored(samples: &[(i64, f64)]) -> [Series; 1] {
        let labels = [(METRIC_NAME, METRIC), ("job", "w"), ("series", "1")];
        let samples = samples.iter().map(|(timestamp, value)| Sample {
            timestamp: *timestamp,
            value: Value::Float(value.to_bits()),
        });
        [Series {
            labels: Labels::from_iter(labels),
            samples: samples.collect(),
        }]
    }

    fn judge(server: &[(i64, f64)]) -> (usize, usize, usize) {
        let mut ledger = Ledger::default();
        ledger.extend([
            sent(1, 1.0, Kind::Good),
            sent(2, 2.0, Kind::Good),
            sent(1, 9.0, Kind::Conflict),
        ]);
        let judgement = ledger.judge_with(&stored(server), |kind| kind != Kind::Good);
        let violations = judgement.violations.len();
        (judgement.missing, judgement.bad_stored, violations)
    }

    #[test]
    fn a_server_must_have_exactly_the_good_samples() {
        assert_eq!(judge(&[(1, 1.0), (2, 2.0)]), (0, 0, 0));
        assert_eq!(judge(&[(2, 2.0)]), (1, 0, 1));
        assert_eq!(judge(&[(1, 1.0), (2, 3.0)]), (1, 0, 2));
        assert_eq!(judge(&[(1, 9.0), (2, 2.0)]), (1, 1, 2));
        assert_eq!(judge(&[(1, 1.0), (2, 2.0), (3, 3.0)]), (0, 0, 1));
    }
}
