use mesh_model::labels::Labels;

use super::*;
use crate::{
    exposition::ParserOptions,
    scrape::{AppendError, InOrder, LabelLimits, Options, SampleValue, Scrape},
};

const NOW_MS: i64 = 1_795_427_440_000;

pub(in crate::scrape) fn options() -> Options {
    Options {
        parser: ParserOptions::default(),
        fallback: None,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        metric_relabel_configs: Vec::new().into(),
        validation_scheme: Default::default(),
        sample_limit: 0,
        label_limits: LabelLimits::default(),
        bucket_limit: 0,
        max_schema: 8,
        extra_scrape_metrics: false,
    }
}

/// Scrapes a body at second `n`. Returns the number of samples, of markers among them,
/// and of new series.
fn scrape(cache: &mut Cache, n: i64, body: &str) -> Result<(usize, usize, u64), AppendError> {
    let (options, target) = (options(), Labels::default());
    let time_ms = NOW_MS + n * 1000;
    let mut scrape = Scrape::begin(cache, &options, &target, InOrder::at(time_ms), time_ms);
    let appended = scrape.append(Some("text/plain"), body.as_bytes());
    if appended.is_err() {
        scrape.append_nothing();
    }
    let added = scrape.counts().series_added;
    let appended = appended.map(|()| scrape.commit())?;
    let samples = appended.samples();
    let markers = samples.filter(|sample| *sample.value() == SampleValue::Stale);
    Ok((appended.samples().len(), markers.count(), added))
}

fn series(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect()
}

#[test]
fn counts_a_series_as_new_only_once() {
    let mut cache = Cache::new();
    assert_eq!(scrape(&mut cache, 0, "a 1\nb 1\n"), Ok((2, 0, 2)));
    assert_eq!(scrape(&mut cache, 1, "b 1\na 1\n"), Ok((2, 0, 0)));
    assert_eq!(scrape(&mut cache, 2, "a 1\n"), Ok((2, 1, 0)));
    assert_eq!(scrape(&mut cache, 3, "a 1\n"), Ok((1, 0, 0)));
    assert_eq!(scrape(&mut cache, 4, "a 1\nb 1\n"), Ok((2, 0, 1)));
}

#[test]
fn a_failed_scrape_evicts_nothing() {
    let mut cache = Cache::new();
    assert_eq!(scrape(&mut cache, 0, "a 1\nb 1\n"), Ok((2, 0, 2)));
    assert!(scrape(&mut cache, 1, "!").is_err());
    assert_eq!(scrape(&mut cache, 2, "a 1\nb 1\n"), Ok((2, 0, 0)));
}

#[test]
fn releases_the_memory_of_evicted_series() {
    let mut cache = Cache::new();
    for n in 0..50 {
        let body = series(n * 2000..(n + 1) * 2000);
        let markers = if n == 0 { 0 } else { 2000 };
        let found = scrape(&mut cache, n as i64, &body);
        assert_eq!(found, Ok((2000 + markers, markers, 2000)), "scrape {n}");
        assert!(cache.entries.len() <= 3 * 2000 + FAILED_ENTRIES);
        assert!(cache.series.len() <= 4 * 2000 + FAILED_ENTRIES);
    }
}

#[test]
fn failing_scrapes_do_not_fill_the_cache() {
    let mut cache = Cache::new();
    for n in 0..50 {
        let body = series(n * 2000..(n + 1) * 2000) + "!";
        assert!(scrape(&mut cache, n as i64, &body).is_err());
        assert!(
            cache.entries.len() <= 5 * 2000 + FAILED_ENTRIES,
            "{}",
            cache.entries.len()
        );
    }
}

#[test]
fn compaction_keeps_live_series() {
    let mut cache = Cache::new();
    let stay = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    for n in 0..10 {
        let body = series(n * 2000..(n + 1) * 2000) + stay;
        let (_, _, added) = scrape(&mut cache, n as i64, &body).unwrap();
        assert_eq!(added, if n == 0 { 2003 } else { 2000 }, "scrape {n}");
    }
    // The time of its last sample is still known, so an older sample is rejected.
    let old = format!("h_sum 1 {NOW_MS}\n");
    assert_eq!(scrape(&mut cache, 10, &old), Ok((2003, 2002 + 1, 0)));
}

#[test]
fn evicts_metadata_after_ten_scrapes() {
    let mut cache = Cache::new();
    scrape(&mut cache, 0, "# TYPE a counter\na 1\n").unwrap();
    for n in 1..=10 {
        scrape(&mut cache, n, "b 1\n").unwrap();
        assert_eq!(cache.families.len(), 1, "scrape {n}");
    }
    scrape(&mut cache, 11, "b 1\n").unwrap();
    cache.maintain();
    assert_eq!(cache.families.len(), 0);
}

/// Bodies of 5,000 series with the labels of a pod: histograms of 14 series, counters, and series
/// of which each has a label value of its own.
fn typical_bodies() -> [String; 3] {
    let pod = "namespace=\"production\",service=\"frontend\",container=\"frontend-server\",\
               version=\"2026.11.3-8f2c1d9\",method=\"GET\",status=\"200\"";
    let (mut histograms, mut counters, mut unique) = (String::new(), String::new(), String::new());
    for n in 0..5_000 / 14 {
        let labels = format!("{pod},route=\"/api/v1/resource/{n}/items\"");
        for bound in 0..12 {
            histograms +=
                &format!("request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} 1\n");
        }
        histograms += &format!("request_duration_seconds_sum{{{labels}}} 1\n");
        histograms += &format!("request_duration_seconds_count{{{labels}}} 1\n");
    }
    for n in 0..5_000 {
        counters += &format!(
            "requests_{}_total{{{pod},way=\"{}\"}} 1\n",
            n / 100,
            n % 100
        );
        unique += &format!("requests_total{{{pod},id=\"8f2c1d90-7be1-4c11-9d3e-{n:012}\"}} 1\n");
    }
    [histograms, counters, unique]
}

#[test]
fn a_series_needs_few_bytes() {
    let allocated = typical_bodies().map(|body| {
        let mut cache = Cache::new();
        let mut samples = 0;
        for n in 0..3 {
            (samples, ..) = scrape(&mut cache, n, &body).unwrap();
        }
        cache.allocated() / samples
    });
    let limits = [400, 340, 440];
    let fits = allocated
        .iter()
        .zip(limits)
        .all(|(bytes, limit)| *bytes <= limit);
    assert!(fits, "bytes per series: {allocated:?}, at most {limits:?}");
}
