//! Compares two databases, series by series and sample by sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mesh_model::labels::{Labels, METRIC_NAME};

use crate::comparable::{Comparable, comparable};
use stand_ins::amp::Series;

/// Series that are not compared, each with the reason.
pub const EXCLUDED: [(&str, &str); 1] = [(
    "scrape_duration_seconds",
    "each scraper measures its own scrapes",
)];

/// Result of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Number of series compared.
    pub series: usize,
    /// Number of samples compared, including staleness markers.
    pub samples: usize,
    /// Number of these that are native histograms.
    pub histograms: usize,
    /// Number of these that are staleness markers.
    pub markers: usize,
    /// Descriptions of all differences.
    pub differences: Vec<String>,
}

/// Key of a sample within its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SampleKey {
    /// Index of the target's scrape, from 0. The timestamps of the two scrapers differ.
    Scrape(usize),
    /// Timestamp that the target set, in milliseconds since the Unix epoch.
    At(i64),
}

/// Timestamps of all scrapes of each target, by job and instance.
struct ScrapeTimes(BTreeMap<(String, String), Vec<i64>>);

/// Samples by series and key.
type Database = BTreeMap<Labels, BTreeMap<SampleKey, Comparable>>;

/// Compares the first scrapes of all targets. `scrapes` returns how many for each job.
pub(super) fn compare(
    prometheus: &[Series],
    promesh: &[Series],
    scrapes: &dyn Fn(&str) -> usize,
) -> Comparison {
    let (theirs, ours) = (database(prometheus, scrapes), database(promesh, scrapes));
    let mut comparison = Comparison::default();
    let all: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for labels in all {
        comparison.series += 1;
        match (theirs.get(labels), ours.get(labels)) {
            (Some(theirs), Some(ours)) => comparison.samples(labels, theirs, ours),
            (Some(_), None) => comparison.differs(labels, "in Prometheus only"),
            (None, _) => comparison.differs(labels, "in promesh only"),
        }
    }
    comparison
}

fn database(all: &[Series], scrapes: &dyn Fn(&str) -> usize) -> Database {
    let times = ScrapeTimes::of(all);
    let compared = all.iter().filter(|series| {
        let name = series.labels.get(METRIC_NAME).unwrap_or_default();
        EXCLUDED.iter().all(|(excluded, _)| *excluded != name)
    });
    let series = compared.map(|series| {
        let (job, of_target) = times.of_series(series);
        let limit = scrapes(job);
        let samples = series.samples.iter().filter_map(|sample| {
            let key = match of_target.binary_search(&sample.timestamp) {
                Ok(scrape) if scrape >= limit => return None,
                Ok(scrape) => SampleKey::Scrape(scrape),
                Err(_) => SampleKey::At(sample.timestamp),
            };
            Some((key, comparable(&sample.value)))
        });
        (series.labels.clone(), samples.collect::<BTreeMap<_, _>>())
    });
    series.filter(|(_, samples)| !samples.is_empty()).collect()
}

// === impl ScrapeTimes ===

impl ScrapeTimes {
    fn of(all: &[Series]) -> Self {
        let ups = all
            .iter()
            .filter(|s| s.labels.get(METRIC_NAME) == Some("up"));
        let targets = ups.map(|up| {
            let label = |name| up.labels.get(name).unwrap_or_default().to_owned();
            let times = up.samples.iter().map(|sample| sample.timestamp).collect();
            ((label("job"), label("instance")), times)
        });
        Self(targets.collect())
    }

    /// Job of a series's target, and the timestamps of its scrapes. A series may have its
    /// own `job` label. Then its timestamps identify the target.
    fn of_series(&self, series: &Series) -> (&str, &[i64]) {
        let label = |name| series.labels.get(name).unwrap_or_default();
        let is = |target: &(&(String, String), &Vec<i64>)| {
            let (job, instance) = target.0;
            (job.as_str(), instance.as_str()) == (label("job"), label("instance"))
        };
        let scraped = |target: &(&(String, String), &Vec<i64>)| {
            let mut times = series.samples.iter().map(|sample| sample.timestamp);
            times.all(|time| target.1.binary_search(&time).is_ok())
        };
        let target = self
            .0
            .iter()
            .find(is)
            .or_else(|| self.0.iter().find(scraped));
        target.map_or(("", &[]), |((job, _), times)| (job, times))
    }
}

// === impl Comparison ===

impl Comparison {
    fn samples(
        &mut self,
        labels: &Labels,
        theirs: &BTreeMap<SampleKey, Comparable>,
        ours: &BTreeMap<SampleKey, Comparable>,
    ) {
        let keys: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for key in keys {
            self.samples += 1;
            let (theirs, ours) = (theirs.get(key), ours.get(key));
            self.histograms += usize::from(matches!(theirs, Some(Comparable::Histogram(_))));
            self.markers += usize::from(matches!(theirs, Some(Comparable::Stale)));
            if theirs != ours {
                let text = |value: Option<&Comparable>| match value {
                    Some(value) => value.to_string(),
                    None => "nothing".to_owned(),
                };
                let (theirs, ours) = (text(theirs), text(ours));
                let what = format!("{key:?}: Prometheus has {theirs}, promesh {ours}");
                self.differs(labels, &what);
            }
        }
    }

    fn differs(&mut self, labels: &Labels, what: &str) {
        self.differences.push(format!("{labels} {what}"));
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "DIFFERENT {difference}")?;
        }
        for (name, reason) in EXCLUDED {
            writeln!(f, "not compared: {name}: {reason}")?;
        }
        write!(
            f,
            "compared {} series with {} samples, {} native histograms and {} staleness markers \
             among them: {} differences",
            self.series,
            self.samples,
            self.histograms,
            self.markers,
            self.differences.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stand_ins::amp::{Sample, Value};

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let samples = samples.iter().map(|&(timestamp, value)| Sample {
            timestamp,
            value: Value::Float(value.to_bits()),
        });
        Series {
            labels: labels.iter().copied().collect(),
            samples: samples.collect(),
        }
    }

    fn scraped(name: &str, samples: &[(i64, f64)]) -> Series {
        series(
            &[(METRIC_NAME, name), ("job", "j"), ("instance", "i")],
            samples,
        )
    }

    fn differences(theirs: &[Series], ours: &[Series]) -> Vec<String> {
        compare(theirs, ours, &|_| 2).differences
    }

    #[test]
    fn compares_every_bit_but_no_timestamp_of_a_scrape() {
        let up = |at: i64| scraped("up", &[(at, 1.0), (at + 10, 1.0), (at + 20, 1.0)]);
        let a = |at: i64, second: f64| scraped("a", &[(at, 0.0), (at + 10, second)]);
        assert!(differences(&[up(0), a(0, 1.0)], &[up(5), a(5, 1.0)]).is_empty());
        let zero = differences(&[up(0), a(0, 0.0)], &[up(5), a(5, -0.0)]);
        assert_eq!(zero.len(), 1, "{zero:?}");
        let gone = differences(&[up(0), a(0, 0.0)], &[up(5)]);
        assert!(gone[0].ends_with("in Prometheus only"), "{gone:?}");
        // The third scrape is not compared. A timestamp that the target set is.
        let own = scraped("a", &[(0, 0.0), (7, 1.0), (20, 5.0)]);
        let missing = differences(&[up(0), own], &[up(0), scraped("a", &[(0, 0.0)])]);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("At(7)"), "{missing:?}");
    }

    #[test]
    fn finds_the_target_of_a_series_with_its_own_job() {
        let up = |at: i64| scraped("up", &[(at, 1.0), (at + 10, 1.0)]);
        let own = |at: i64| series(&[(METRIC_NAME, "a"), ("job", "own")], &[(at + 10, 1.0)]);
        assert!(differences(&[up(0), own(0)], &[up(5), own(5)]).is_empty());
    }
}
