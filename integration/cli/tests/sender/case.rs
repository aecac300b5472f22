//! The requests and series of one case.

use anyhow::{Context, ensure};
use harness::sender_peers::{RecordedRequest, SentSeries};

/// Everything that arrived from one target.
pub(crate) struct Case {
    /// Requests with at least one series of the target.
    pub(crate) requests: Vec<RecordedRequest>,
    /// Series of the target in order of arrival, once per scrape.
    pub(crate) series: Vec<SentSeries>,
}

/// Series that a receiver adds to every scrape.
const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

impl Case {
    /// Selects what arrived from the target `instance`.
    pub(crate) fn new(seen: &[RecordedRequest], instance: &str) -> anyhow::Result<Self> {
        let mut case = Self {
            requests: Vec::new(),
            series: Vec::new(),
        };
        for request in seen {
            let all = request.series()?;
            let own = all.into_iter().filter(|s| s.label("instance") == instance);
            let before = case.series.len();
            case.series.extend(own);
            if case.series.len() > before {
                case.requests.push(request.clone());
            }
        }
        ensure!(
            !case.requests.is_empty(),
            "no request has a series of {instance}"
        );
        Ok(case)
    }

    /// Series that the target exposed.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = &SentSeries> {
        let reports = |series: &&SentSeries| !REPORTS.contains(&series.name());
        self.series.iter().filter(reports)
    }

    /// Number of distinct series that the target exposed.
    pub(crate) fn exposed_len(&self) -> usize {
        let mut labels: Vec<_> = self.exposed().map(|series| &series.labels).collect();
        labels.sort();
        labels.dedup();
        labels.len()
    }

    /// Finds a series of a metric that has at least these labels.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<&SentSeries> {
        let wanted = |series: &&SentSeries| {
            let has = |(label, value): &(&str, &str)| series.label(label) == *value;
            series.name() == name && labels.iter().all(has)
        };
        let found = self.series.iter().find(wanted);
        found.with_context(|| format!("no {name}{labels:?}"))
    }

    /// Checks the value of a series, to the bit.
    pub(crate) fn expect_value(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        want: f64,
    ) -> anyhow::Result<()> {
        let value = self.find(name, labels)?.value();
        let bits = value.map(f64::to_bits);
        ensure!(
            bits == Some(want.to_bits()),
            "{name}{labels:?} is {value:?}, expected {want}"
        );
        Ok(())
    }

    /// Checks that the scrape failed, as in Prometheus: `up` is 0 and there are no samples.
    pub(crate) fn expect_down(&self) -> anyhow::Result<()> {
        ensure!(self.exposed_len() == 0, "an invalid body has series");
        self.expect_value("up", &[], 0.0)
    }

    /// Checks the rules for all requests and series.
    pub(crate) fn expect_valid(&self) -> anyhow::Result<()> {
        for request in &self.requests {
            request.message().context("not Snappy's block format")?;
            ensure!(request.method == http::Method::POST, "not POST");
        }
        for series in &self.series {
            let names: Vec<_> = series.labels.iter().map(|(name, _)| name).collect();
            ensure!(
                names.is_sorted_by(|one, other| one < other),
                "labels not sorted or not unique: {names:?}"
            );
            ensure!(!series.name().is_empty(), "a series without a name");
            let empty = |(name, value): &(String, String)| name.is_empty() || value.is_empty();
            ensure!(!series.labels.iter().any(empty), "an empty label");
            let both = !series.samples.is_empty() && !series.histograms.is_empty();
            ensure!(!both, "samples and histograms in one series");
            let times: Vec<_> = series.times().collect();
            ensure!(
                times.is_sorted_by(|one, other| one < other),
                "timestamps not ascending: {times:?}"
            );
        }
        Ok(())
    }
}
