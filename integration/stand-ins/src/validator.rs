//! Compares the scraped bodies with the series that the backend has stored, in both
//! directions.
//!
//! The validator parses bodies with `prometheus-parse`, not with the receiver's parser, so
//! that a bug of that parser cannot hide. Its input is a body, the timestamp of the scrape
//! and the stored series. It uses no code of the mesh but the label type.

use std::collections::BTreeMap;

use anyhow::Context;
use mesh_model::labels::{Labels, METRIC_NAME};
use prometheus_parse::{Scrape, Value as Parsed};

use crate::amp::{Series, Value};

/// Expected value of each series of a body.
pub type Expected = BTreeMap<Labels, f64>;

/// Series that a receiver adds to every scrape.
pub const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Result of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Scrapes found in the backend.
    pub scrapes: usize,
    /// Samples compared.
    pub samples: usize,
    /// Descriptions of all differences.
    pub differences: Vec<String>,
}

/// Returns the series and values that a backend must store for a body.
///
/// # Errors
/// Returns an error if the body cannot be parsed.
pub fn expected(body: &str) -> anyhow::Result<Expected> {
    let lines = body.lines().map(|line| Ok(line.to_owned()));
    let scrape = Scrape::parse(lines).context("the sample app's body")?;
    let mut expected = Expected::new();
    for sample in scrape.samples {
        let mut add = |name: &str, extra: Option<(&str, f64)>, value: f64| {
            let own = sample.labels.iter().map(|(n, v)| (n.clone(), v.clone()));
            let extra = extra.map(|(label, bound)| (label.to_owned(), canonical(bound)));
            let name = (METRIC_NAME.to_owned(), name.to_owned());
            expected.insert(own.chain(extra).chain([name]).collect(), value);
        };
        match &sample.value {
            Parsed::Counter(value) | Parsed::Gauge(value) | Parsed::Untyped(value) => {
                add(&sample.metric, None, *value);
            }
            Parsed::Histogram(buckets) => {
                let name = format!("{}_bucket", sample.metric);
                for bucket in buckets {
                    add(&name, Some(("le", bucket.less_than)), bucket.count);
                }
            }
            Parsed::Summary(quantiles) => {
                for quantile in quantiles {
                    add(
                        &sample.metric,
                        Some(("quantile", quantile.quantile)),
                        quantile.count,
                    );
                }
            }
        }
    }
    Ok(expected)
}

/// Formats a bound as Prometheus 3 does in `le` and `quantile`: a whole number has one
/// decimal (`1.0`).
fn canonical(bound: f64) -> String {
    if bound == f64::INFINITY {
        "+Inf".to_owned()
    } else if bound.fract() == 0.0 {
        format!("{bound:.1}")
    } else {
        bound.to_string()
    }
}

// === impl Report ===

impl Report {
    /// Returns `true` if there is no difference.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }

    /// Adds a difference.
    pub fn differs(&mut self, difference: String) {
        self.differences.push(difference);
    }

    /// Compares all stored scrapes of one target with the bodies that the target served.
    ///
    /// - `stored`: all series of the target in the backend.
    /// - `added`: labels that each series must have besides those of the body.
    /// - `counter`: name of the counter that numbers the bodies.
    /// - `body`: looks up a served body by its number.
    pub fn compare(
        &mut self,
        stored: &[Series],
        added: &[(&str, &str)],
        counter: &str,
        body: impl Fn(usize) -> Option<std::sync::Arc<str>>,
    ) {
        let complete = |labels: &Labels| {
            let mut builder = labels.to_builder();
            for (name, value) in added {
                builder.set(*name, *value);
            }
            builder.build()
        };
        let numbers = stored
            .iter()
            .find(|s| s.labels.get(METRIC_NAME) == Some(counter));
        let Some(numbers) = numbers else {
            return self.differs(format!("{counter} is not stored: no scrape arrived"));
        };
        let mut index: BTreeMap<&Labels, BTreeMap<i64, &Value>> = BTreeMap::new();
        for series in stored {
            let samples = series.samples.iter().map(|s| (s.timestamp, &s.value));
            if index.insert(&series.labels, samples.collect()).is_some() {
                self.differs(format!("{} is stored twice", series.labels));
            }
        }
        let mut expected_samples: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        for sample in &numbers.samples {
            let Some(served) = number(&sample.value).and_then(&body) else {
                self.differs(format!(
                    "{counter} is {:?}, which the target never served",
                    sample.value
                ));
                continue;
            };
            self.scrapes += 1;
            match expected(&served) {
                Ok(expected) => {
                    for (labels, value) in expected {
                        let of_series = expected_samples.entry(complete(&labels)).or_default();
                        of_series.insert(sample.timestamp, value.to_bits());
                    }
                }
                Err(error) => self.differs(format!("{error:#}")),
            }
            for report in REPORTS {
                let labels = complete(&Labels::from_iter([(METRIC_NAME, report)]));
                if !index
                    .get(&labels)
                    .is_some_and(|s| s.contains_key(&sample.timestamp))
                {
                    self.differs(format!("{labels} at {} is missing", sample.timestamp));
                }
            }
        }
        self.compare_both_directions(&index, &expected_samples);
    }

    fn compare_both_directions(
        &mut self,
        index: &BTreeMap<&Labels, BTreeMap<i64, &Value>>,
        expected_samples: &BTreeMap<Labels, BTreeMap<i64, u64>>,
    ) {
        for (labels, samples) in expected_samples {
            for (timestamp, bits) in samples {
                self.samples += 1;
                let found = index.get(labels).and_then(|stored| stored.get(timestamp));
                match found {
                    Some(Value::Float(found)) if found == bits => {}
                    Some(found) => self.differs(format!(
                        "{labels} at {timestamp} is {found:?}, expected {}",
                        f64::from_bits(*bits)
                    )),
                    None => self.differs(format!("{labels} at {timestamp} is missing")),
                }
            }
        }
        for (labels, samples) in index {
            if labels
                .get(METRIC_NAME)
                .is_some_and(|name| REPORTS.contains(&name))
            {
                continue;
            }
            let expected = expected_samples.get(*labels);
            for timestamp in samples.keys() {
                if !expected.is_some_and(|samples| samples.contains_key(timestamp)) {
                    self.differs(format!("{labels} at {timestamp} was never scraped"));
                }
            }
        }
    }
}

fn number(value: &Value) -> Option<usize> {
    let number = value.as_float()?;
    (number >= 1.0 && number.fract() == 0.0).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::amp::Sample;

    const BODY: &str = "# TYPE n counter\nn 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\n\
        h_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n# TYPE s summary\ns{quantile=\"0.5\",x=\"y\"} 7\n";

    fn stored() -> Vec<Series> {
        let reports = REPORTS.map(|name| (vec![(METRIC_NAME, name)], 0.0));
        let own = [
            (vec![(METRIC_NAME, "n")], 1.0),
            (vec![(METRIC_NAME, "h_bucket"), ("le", "1.0")], 2.0),
            (vec![(METRIC_NAME, "h_bucket"), ("le", "+Inf")], 3.0),
            (vec![(METRIC_NAME, "h_sum")], 4.5),
            (vec![(METRIC_NAME, "h_count")], 3.0),
            (
                vec![(METRIC_NAME, "s"), ("quantile", "0.5"), ("x", "y")],
                7.0,
            ),
        ];
        let all = reports.into_iter().chain(own);
        all.map(|(labels, value)| Series {
            labels: labels.into_iter().chain([("job", "j")]).collect(),
            samples: vec![Sample {
                timestamp: 5,
                value: Value::Float(f64::to_bits(value)),
            }],
        })
        .collect()
    }

    fn report(stored: &[Series]) -> Report {
        let mut report = Report::default();
        report.compare(stored, &[("job", "j")], "n", |n| {
            (n == 1).then(|| Arc::from(BODY))
        });
        report
    }

    #[test]
    fn accepts_series_stored_as_scraped() {
        let report = report(&stored());
        assert!(report.is_good(), "{:?}", report.differences);
        assert_eq!((report.scrapes, report.samples), (1, 6));
    }

    #[test]
    fn reports_every_difference() {
        let full = stored();
        for missing in 0..full.len() {
            let mut stored = full.clone();
            stored.remove(missing);
            assert!(
                !report(&stored).is_good(),
                "without {}",
                full[missing].labels
            );
        }
        for wrong in REPORTS.len()..full.len() {
            let mut stored = full.clone();
            stored[wrong].samples[0].value = Value::Float(99f64.to_bits());
            assert!(!report(&stored).is_good(), "wrong {}", full[wrong].labels);
            let mut stored = full.clone();
            stored[wrong].samples.push(Sample {
                timestamp: 6,
                value: Value::Float(0),
            });
            assert!(
                !report(&stored).is_good(),
                "too much of {}",
                full[wrong].labels
            );
            let mut stored = full.clone();
            let mut labels = stored[wrong].labels.to_builder();
            labels.set("extra", "label");
            stored[wrong].labels = labels.build();
            assert!(
                !report(&stored).is_good(),
                "a label of {}",
                full[wrong].labels
            );
        }
    }
}
