//! Two databases, series by series and sample by sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mesh_model::labels::{Labels, METRIC_NAME};

use super::value::{self, Comparable};
use stand_ins::amp::Series;

/// Series that are not compared, each with the reason.
pub const EXCLUDED: [(&str, &str); 1] = [(
    "scrape_duration_seconds",
    "each scraper measures its own scrapes",
)];

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Series that were compared.
    pub series: usize,
    /// Their samples, markers included.
    pub samples: usize,
    /// How many of these are native histograms.
    pub histograms: usize,
    /// How many of these are staleness markers.
    pub markers: usize,
    /// What is different, a line for each.
    pub differences: Vec<String>,
}

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In this scrape of its target, from 0: each scraper has a rhythm of its own.
    Scrape(usize),
    /// At a time that the target gave, milliseconds since the Unix epoch.
    At(i64),
}

/// The times of all scrapes of each target, by job and instance.
struct Scrapes(BTreeMap<(String, String), Vec<i64>>);

/// Samples by series and place.
type Database = BTreeMap<Labels, BTreeMap<Place, Comparable>>;

/// Compares the first `scrapes` scrapes of all targets, of which that many depends
/// on the job.
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
    let times = Scrapes::of(all);
    let compared = all.iter().filter(|series| {
        let name = series.labels.get(METRIC_NAME).unwrap_or_default();
        EXCLUDED.iter().all(|(excluded, _)| *excluded != name)
    });
    let series = compared.map(|series| {
        let (job, of_target) = times.of_series(series);
        let limit = scrapes(job);
        let samples = series.samples.iter().filter_map(|sample| {
            let place = match of_target.binary_search(&sample.timestamp) {
                Ok(scrape) if scrape >= limit => return None,
                Ok(scrape) => Place::Scrape(scrape),
                Err(_) => Place::At(sample.timestamp),
            };
            Some((place, value::comparable(&sample.value)))
        });
        (series.labels.clone(), samples.collect::<BTreeMap<_, _>>())
    });
    series.filter(|(_, samples)| !samples.is_empty()).collect()
}

// === impl Scrapes ===

impl Scrapes {
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

    /// The job of a series' target, and the times of its scrapes. A series may have
    /// labels of its own choice, and then it is known by its times.
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
        theirs: &BTreeMap<Place, Comparable>,
        ours: &BTreeMap<Place, Comparable>,
    ) {
        let places: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for place in places {
            self.samples += 1;
            let (theirs, ours) = (theirs.get(place), ours.get(place));
            self.histograms += usize::from(matches!(theirs, Some(Comparable::Histogram(_))));
            self.markers += usize::from(matches!(theirs, Some(Comparable::Stale)));
            if theirs != ours {
                let text = |value: Option<&Comparable>| match value {
                    Some(value) => value.to_string(),
                    None => "nothing".to_owned(),
                };
                let (theirs, ours) = (text(theirs), text(ours));
                let what = format!("{place:?}: Prometheus has {theirs}, promesh {ours}");
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
    fn the_phase_does_not_matter_but_every_bit_does() {
        let up = |at: i64| scraped("up", &[(at, 1.0), (at + 10, 1.0), (at + 20, 1.0)]);
        let a = |at: i64, second: f64| scraped("a", &[(at, 0.0), (at + 10, second)]);
        assert!(differences(&[up(0), a(0, 1.0)], &[up(5), a(5, 1.0)]).is_empty());
        let zero = differences(&[up(0), a(0, 0.0)], &[up(5), a(5, -0.0)]);
        assert_eq!(zero.len(), 1, "{zero:?}");
        let gone = differences(&[up(0), a(0, 0.0)], &[up(5)]);
        assert!(gone[0].ends_with("in Prometheus only"), "{gone:?}");
        // A third scrape is not compared, a time of its own is.
        let own = scraped("a", &[(0, 0.0), (7, 1.0), (20, 5.0)]);
        let missing = differences(&[up(0), own], &[up(0), scraped("a", &[(0, 0.0)])]);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("At(7)"), "{missing:?}");
    }

    #[test]
    fn a_series_with_a_job_of_its_own_is_known_by_its_times() {
        let up = |at: i64| scraped("up", &[(at, 1.0), (at + 10, 1.0)]);
        let own = |at: i64| series(&[(METRIC_NAME, "a"), ("job", "own")], &[(at + 10, 1.0)]);
        assert!(differences(&[up(0), own(0)], &[up(5), own(5)]).is_empty());
    }
}
