//! The stored series, and the rules for samples that may be stored.

use std::{collections::HashMap, time::Duration};

use mesh_model::labels::{Labels, METRIC_NAME};

use super::{AmpOptions, decode::Value, ledger::Outcome};

/// One stored sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Timestamp in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Value of the sample.
    pub value: Value,
}

/// One stored series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels, without the replica label of an HA request.
    pub labels: Labels,
    /// Samples, oldest first.
    pub samples: Vec<Sample>,
}

/// All stored series.
#[derive(Debug)]
pub struct Store {
    series: HashMap<Labels, Vec<Sample>>,
    window: Duration,
    max_age: Duration,
    max_series: usize,
}

const MAX_LABELS: usize = 150;
const MAX_NAME_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 2048;
const MAX_FUTURE_MS: i64 = 10 * 60 * 1000;

// === impl Store ===

impl Store {
    pub(super) fn new(options: &AmpOptions) -> Self {
        Self {
            series: HashMap::new(),
            window: options.out_of_order_window,
            max_age: options.max_sample_age,
            max_series: options.max_series,
        }
    }

    /// Returns `true` if the series is stored.
    pub fn contains(&self, labels: &Labels) -> bool {
        self.series.contains_key(labels)
    }

    /// Maximum number of stored series.
    pub fn max_series(&self) -> usize {
        self.max_series
    }

    /// Returns `true` if the store has reached its maximum number of series.
    pub fn is_full(&self) -> bool {
        self.series.len() >= self.max_series
    }

    /// Returns the error message for labels that break a limit.
    pub fn label_error(labels: &Labels) -> Option<String> {
        let Some(name) = labels.get(METRIC_NAME) else {
            return Some("sample missing metric name".to_owned());
        };
        if labels.len() > MAX_LABELS {
            return Some(format!(
                "series has too many labels (actual: {}, limit: {MAX_LABELS}) series: '{name}'",
                labels.len()
            ));
        }
        for (label, value) in labels.iter() {
            if label.len() > MAX_NAME_BYTES {
                return Some(format!(
                    "label name too long for metric (actual: {}, limit: {MAX_NAME_BYTES}) \
                     metric: \"{name}\" label name: \"{label:.200}\"",
                    label.len()
                ));
            }
            if value.len() > MAX_VALUE_BYTES {
                return Some(format!(
                    "label value too long for metric (actual: {}, limit: {MAX_VALUE_BYTES}) \
                     metric: \"{name}\" label name: \"{label}\" label value: \"{value:.200}\"",
                    value.len()
                ));
            }
        }
        None
    }

    /// Stores a sample, or returns the reason why it is rejected.
    pub fn append(&mut self, labels: &Labels, sample: Sample, now_ms: i64) -> Outcome {
        let outcome = self.outcome(labels, &sample, now_ms);
        if outcome == Outcome::Stored {
            let samples = match self.series.get_mut(labels) {
                Some(samples) => samples,
                None => self.series.entry(labels.clone()).or_default(),
            };
            let at = samples.partition_point(|other| other.timestamp < sample.timestamp);
            samples.insert(at, sample);
        }
        outcome
    }

    /// Outcome of a sample if it were appended.
    pub fn outcome(&self, labels: &Labels, sample: &Sample, now_ms: i64) -> Outcome {
        if sample.timestamp < now_ms - self.max_age.as_millis() as i64 {
            return Outcome::TooOld;
        }
        if sample.timestamp > now_ms + MAX_FUTURE_MS {
            return Outcome::Refused;
        }
        let samples = self.series.get(labels).map_or(&[][..], Vec::as_slice);
        let Some(newest) = samples.last().map(|newest| newest.timestamp) else {
            return Outcome::Stored;
        };
        if sample.timestamp > newest {
            return Outcome::Stored;
        }
        let in_window = sample.timestamp > newest - self.window.as_millis() as i64;
        match samples.binary_search_by_key(&sample.timestamp, |s| s.timestamp) {
            // Outside the window, Cortex compares only the time of the newest sample.
            Ok(at) if at + 1 < samples.len() && !in_window => Outcome::OutOfOrder,
            Ok(at) if samples[at].value == sample.value => Outcome::Duplicate,
            Ok(_) => Outcome::Conflict,
            Err(_) if in_window => Outcome::Stored,
            Err(_) => Outcome::OutOfOrder,
        }
    }

    /// Returns the series whose labels satisfy `wanted`, sorted by labels.
    pub fn select(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<Series> {
        let matching = self.series.iter().filter(|(labels, _)| wanted(labels));
        let mut series: Vec<_> = matching
            .map(|(labels, samples)| Series {
                labels: labels.clone(),
                samples: samples.clone(),
            })
            .collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn store(window_s: u64) -> Store {
        Store::new(&AmpOptions {
            out_of_order_window: Duration::from_secs(window_s),
            ..AmpOptions::default()
        })
    }

    fn append(store: &mut Store, age_s: i64, value: f64) -> Outcome {
        let labels = Labels::from_iter([(METRIC_NAME, "m")]);
        let sample = Sample {
            timestamp: NOW - age_s * 1000,
            value: Value::Float(value.to_bits()),
        };
        store.append(&labels, sample, NOW)
    }

    #[test]
    fn rejects_late_samples_without_a_window() {
        let mut store = store(0);
        assert_eq!(append(&mut store, 30, 1.0), Outcome::Stored);
        assert_eq!(append(&mut store, 20, 2.0), Outcome::Stored);
        assert_eq!(append(&mut store, 20, 2.0), Outcome::Duplicate);
        assert_eq!(append(&mut store, 20, 3.0), Outcome::Conflict);
        assert_eq!(append(&mut store, 25, 2.0), Outcome::OutOfOrder);
        assert_eq!(append(&mut store, 30, 1.0), Outcome::OutOfOrder);
    }

    #[test]
    fn stores_late_samples_within_the_window() {
        let mut store = store(60);
        assert_eq!(append(&mut store, 20, 2.0), Outcome::Stored);
        assert_eq!(append(&mut store, 30, 1.0), Outcome::Stored);
        assert_eq!(append(&mut store, 30, 1.0), Outcome::Duplicate);
        assert_eq!(append(&mut store, 30, 5.0), Outcome::Conflict);
        assert_eq!(append(&mut store, 90, 1.0), Outcome::OutOfOrder);
    }

    #[test]
    fn rejects_samples_too_old_or_in_the_future() {
        let mut store = store(0);
        assert_eq!(append(&mut store, 3601, 1.0), Outcome::TooOld);
        assert_eq!(append(&mut store, -601, 1.0), Outcome::Refused);
        assert!(store.select(|_| true).is_empty());
    }
}
