//! Cases of version 1.0.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use harness::sender_peers::{RecordedRequest, Recorder, Reply, SentSeries, Target};
use judge::sender::{Sender, SenderArgs};

use crate::case::Case;

/// Groups of the version 2.0 suite that test version 1.0.
pub(crate) const GROUPS: &[&str] = &[
    "TestRemoteWrite1Compatibility",
    "TestRemoteWrite1Configuration",
];

const V1: &str = "prometheus.WriteRequest";
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// All cases. The last three also have their own tests.
pub(crate) const CASES: &[&str] = &[
    "Counter",
    "Gauge",
    "Histogram",
    "Summary",
    "Up",
    "Invalid",
    "JobLabel",
    "InstanceLabel",
    "SortedLabels",
    "RepeatedLabels",
    "EmptyLabels",
    "NameLabel",
    "HonorLabels",
    "Staleness",
    "Timestamp",
    "Headers",
    "Ordering",
    "Retries500",
    "Retries400",
];

/// Bodies of a case, one per scrape. The last one repeats.
fn bodies(case: &str) -> &'static [&'static str] {
    match case {
        "Counter" => &[
            "# TYPE c counter\nc 0\n",
            "# TYPE c counter\nc 1\n",
            "# TYPE c counter\nc 2\n",
        ],
        "Histogram" => &[
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\n\
                          h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
        ],
        "Summary" => &[
            "# TYPE s summary\ns{quantile=\"0.5\"} 2\ns{quantile=\"0.9\"} 3\n\
                        s{quantile=\"0.99\"} 3\ns_sum 6\ns_count 3\n",
        ],
        "Invalid" => &["this is no metric\n"],
        "SortedLabels" => &["test{b=\"2\",a=\"1\"} 1\n"],
        "RepeatedLabels" => &["test{a=\"1\",a=\"2\"} 1\n"],
        "EmptyLabels" => &["test{a=\"\"} 1\n"],
        "NameLabel" => &["{label=\"value\"} 1\n"],
        "HonorLabels" => &["test{job=\"theirs\",instance=\"theirs:1\"} 1\n"],
        "Staleness" => &["goes 1\nstays 1\n", "stays 1\n"],
        _ => &["# TYPE gauge gauge\ngauge 42\n"],
    }
}

fn check(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "Counter" => {
            let values: Vec<_> = case.exposed().filter_map(SentSeries::value).collect();
            ensure!(values.starts_with(&[0.0, 1.0, 2.0]), "{values:?}");
            Ok(())
        }
        // Bounds as Prometheus 3 stores them.
        "Histogram" => {
            for (le, count) in [("1.0", 1.0), ("2.0", 2.0), ("+Inf", 2.0)] {
                case.expect_value("h_bucket", &[("le", le)], count)?;
            }
            case.expect_value("h_sum", &[], 3.0)?;
            case.expect_value("h_count", &[], 2.0)?;
            check_equal_counts(case, 5)
        }
        "Summary" => {
            for (quantile, value) in [("0.5", 2.0), ("0.9", 3.0), ("0.99", 3.0)] {
                case.expect_value("s", &[("quantile", quantile)], value)?;
            }
            case.expect_value("s_sum", &[], 6.0)?;
            case.expect_value("s_count", &[], 3.0)?;
            check_equal_counts(case, 5)
        }
        "Up" => case.expect_value("up", &[("job", "test")], 1.0),
        "Invalid" | "RepeatedLabels" | "NameLabel" => case.expect_down(),
        "Gauge" | "JobLabel" => case.expect_value("gauge", &[("job", "test")], 42.0),
        // `Case::new` selects the series by this label.
        "InstanceLabel" | "Ordering" | "Retries500" | "Retries400" => {
            let instance = case.find("gauge", &[])?.label("instance");
            ensure!(instance.starts_with("127.0.0.1:"), "{instance}");
            Ok(())
        }
        "SortedLabels" => case.expect_value("test", &[("a", "1"), ("b", "2")], 1.0),
        "EmptyLabels" => {
            let labels = &case.find("test", &[])?.labels;
            ensure!(labels.len() == 3, "{labels:?}");
            Ok(())
        }
        "HonorLabels" => {
            let exported = [
                ("exported_job", "theirs"),
                ("exported_instance", "theirs:1"),
            ];
            case.expect_value("test", &exported, 1.0)
        }
        "Staleness" => {
            let gone = case.exposed().filter(|series| series.name() == "goes");
            let bits: Vec<_> = gone
                .filter_map(SentSeries::value)
                .map(f64::to_bits)
                .collect();
            ensure!(bits == [1.0_f64.to_bits(), STALE_NAN], "{bits:x?}");
            Ok(())
        }
        "Timestamp" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
            let times: Vec<_> = case.series.iter().flat_map(SentSeries::times).collect();
            ensure!(times.is_sorted(), "{times:?}");
            ensure!(
                times
                    .iter()
                    .all(|time| (now - 300_000..=now).contains(time))
            );
            Ok(())
        }
        "Headers" => headers(case),
        _ => bail!("no check"),
    }
}

/// Checks headers and messages, by the cases of version 1.0 and the eight of the version 2.0
/// suite.
fn headers(case: &Case) -> anyhow::Result<()> {
    for request in &case.requests {
        for (name, want) in [
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ] {
            let found = request.header(name);
            ensure!(found == Some(want), "{name} is {found:?}");
        }
        let message = request.v1()?;
        ensure!(!message.timeseries.is_empty(), "a request without series");
        ensure!(
            message.metadata.is_empty(),
            "series and metadata in one request"
        );
        // The message has fields of version 1.0 only: no symbols, no start timestamps.
        ensure!(
            prost::Message::encoded_len(&message) == request.message()?.len(),
            "fields that version 1.0 does not define"
        );
        ensure!(
            message.timeseries.iter().all(|s| s.histograms.is_empty()),
            "native histograms"
        );
    }
    Ok(())
}

/// Checks that the target exposed `n` series, all with the same number of samples.
fn check_equal_counts(case: &Case, n: usize) -> anyhow::Result<()> {
    let mut samples = HashMap::new();
    for series in case.exposed() {
        *samples.entry(&series.labels).or_insert(0) += series.samples.len();
    }
    let counts: Vec<_> = samples.into_values().collect();
    ensure!(
        counts.len() == n && counts.iter().all(|c| *c == counts[0]),
        "{counts:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_bodies_as_version_1_requires() {
    let mut targets = Vec::new();
    for case in CASES {
        targets.push(Target::start(bodies(case)).await.unwrap());
    }
    let recorder = Recorder::start(|_, _| Reply::default()).await.unwrap();
    let instances: Vec<_> = targets.iter().map(|t| t.address.to_string()).collect();
    let args = SenderArgs::new(&instances, &recorder.url(), V1);
    let sender = Sender::start(&args).await.unwrap();
    let four_scrapes = |seen: &[RecordedRequest]| {
        let series = seen.iter().filter_map(|request| request.series().ok());
        let ups = series.flatten().filter(|series| series.name() == "up");
        let mut scrapes: HashMap<String, usize> = HashMap::new();
        for up in ups {
            *scrapes.entry(up.label("instance").to_owned()).or_default() += 1;
        }
        instances
            .iter()
            .all(|instance| scrapes.get(instance) >= Some(&4))
    };
    let metadata = |seen: &[RecordedRequest]| {
        let mut messages = seen.iter().filter_map(|request| request.v1().ok());
        messages.any(|message| !message.metadata.is_empty())
    };
    let enough = |seen: &[RecordedRequest]| four_scrapes(seen) && metadata(seen);
    let seen = recorder
        .wait("four scrapes and metadata", enough)
        .await
        .unwrap();
    // On shutdown, the requests in flight arrive. So every scrape is complete.
    sender.stop().await.unwrap();
    let seen = [seen, recorder.requests()]
        .into_iter()
        .max_by_key(Vec::len)
        .unwrap();
    let mut failures = Vec::new();
    for (name, instance) in CASES.iter().zip(&instances) {
        let checked = Case::new(&seen, instance).and_then(|case| {
            case.expect_valid()?;
            check(name, &case)
        });
        let checked = checked.context(*name);
        failures.extend(checked.err().map(|error| format!("{error:#}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
    // Metadata has its own requests, with the text of the target.
    let metadata = seen.iter().filter_map(|request| request.v1().ok());
    let all: Vec<_> = metadata.flat_map(|message| message.metadata).collect();
    let of_h = all
        .iter()
        .find(|metadata| metadata.metric_family_name == "h")
        .unwrap();
    assert_eq!(
        (of_h.help.as_str(), of_h.r#type().as_str_name()),
        ("Help.", "HISTOGRAM")
    );
}

/// A slow backend receives the samples of every series in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_backend_receives_samples_in_order() {
    let body: String = (0..1000)
        .map(|i| format!("series{{i=\"{i}\"}} 1\n"))
        .collect();
    let target = Target::start(&[&body]).await.unwrap();
    let slow = |n: usize, _: &[SentSeries]| Reply {
        delay: Duration::from_millis(700 * (n as u64 % 3)),
        ..Reply::default()
    };
    let recorder = Recorder::start(slow).await.unwrap();
    let args = SenderArgs::new(&[target.address.to_string()], &recorder.url(), V1);
    let sender = Sender::start(&args).await.unwrap();
    let seen = recorder
        .wait("six requests", |seen| seen.len() >= 6)
        .await
        .unwrap();
    sender.stop().await.unwrap();
    let mut last: HashMap<Vec<(String, String)>, i64> = HashMap::new();
    for series in seen.iter().flat_map(|request| request.series().unwrap()) {
        for time in series.times().collect::<Vec<_>>() {
            let before = last.insert(series.labels.clone(), time);
            assert!(before < Some(time), "{:?}", series.labels);
        }
    }
    assert!(last.len() >= 1000, "{} series", last.len());
}

/// A request that failed with 500 is retried. A request rejected with 400 is not.
#[tokio::test(flavor = "multi_thread")]
async fn retries_after_500_and_not_after_400() {
    let cases = [(500, 2), (400, 1)].map(|(code, times)| async move {
        let target = Target::start(&["gauge 42\n"]).await.unwrap();
        let script = move |n, _: &[SentSeries]| match n {
            0 => Reply::status(code),
            _ => Reply::default(),
        };
        let recorder = Recorder::start(script).await.unwrap();
        let args = SenderArgs::new(&[target.address.to_string()], &recorder.url(), V1);
        let sender = Sender::start(&args).await.unwrap();
        let seen = recorder
            .wait("three requests", |seen| seen.len() >= 3)
            .await
            .unwrap();
        sender.stop().await.unwrap();
        let first = seen[0].message().unwrap();
        let again = seen
            .iter()
            .filter(|request| request.message().unwrap() == first);
        assert_eq!(again.count(), times, "{code}");
    });
    futures::future::join_all(cases).await;
}
