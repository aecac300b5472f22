//! Cases of version 2.0 with a body. Each is a target of the same sender.

use anyhow::Context;
use harness::sender_peers::{Recorder, Reply, Target};
use judge::sender::{Sender, SenderArgs};

use crate::{
    case::Case,
    checks,
    suite::{self, PublishedCase},
};

/// Groups of the suite that this module covers.
pub(crate) const GROUPS: &[&str] = &[
    "TestBatchingBehavior",
    "TestCombinedFeatures",
    "TestConcurrentRequests",
    "TestContentTypeNegotiation",
    "TestEdgeCases",
    "TestExemplarEncoding",
    "TestHTTPMethod",
    "TestHistogramEncoding",
    "TestLabelValidation",
    "TestMetadataEncoding",
    "TestNoFallbackOn2xx",
    "TestProtocolCompliance",
    "TestRobustnessUnderLoad",
    "TestSampleEncoding",
    "TestSampleOrdering",
    "TestSymbolTable",
    "TestSymbolTableEfficiency",
    "TestTimestampEncoding",
];

/// Own bodies, for cases whose published body covers less than the requirement or is built at
/// run time.
fn own_bodies() -> Vec<(&'static str, String)> {
    let lines = |n: usize, line: fn(usize) -> String| (0..n).map(line).collect::<String>();
    vec![
        ("TestConcurrentRequests", "test_metric 42\n".to_owned()),
        ("TestContentTypeNegotiation", "test_metric 42\n".to_owned()),
        ("TestHTTPMethod", "test_metric 42\n".to_owned()),
        ("TestNoFallbackOn2xx", "test_metric 42\n".to_owned()),
        ("TestSampleOrdering", "test_metric 42\n".to_owned()),
        (
            "TestRobustnessUnderLoad",
            lines(200, |i| format!("load_metric{{i=\"{i}\"}} {i}\n")),
        ),
        (
            "TestSymbolTableEfficiency",
            lines(100, |i| {
                format!("shared{{a=\"{}\",b=\"{}\"}} 1\n", i % 10, i / 10)
            }),
        ),
        (
            "own/many_timeseries",
            lines(1000, |i| format!("metric_{i} {i}\n")),
        ),
        (
            "own/high_cardinality",
            lines(100, |i| format!("http_requests{{path=\"/{i}\"}} {i}\n")),
        ),
        (
            "own/help_with_newlines",
            "# HELP m one\\ntwo \\\\ three\n# TYPE m gauge\nm 1\n".to_owned(),
        ),
        ("own/future_timestamp", {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            format!("test_metric 42 {}\n", since.as_millis() + 300_000)
        }),
    ]
}

fn cases() -> Vec<(String, String)> {
    let published = suite::version_2(GROUPS).into_iter();
    let published =
        published.filter_map(|PublishedCase { name, scrape_data }| Some((name, scrape_data?)));
    let own = own_bodies();
    published
        .chain(own.into_iter().map(|(name, body)| (name.to_owned(), body)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_bodies_as_version_2_requires() {
    let cases = cases();
    let mut targets = Vec::new();
    for (_, body) in &cases {
        targets.push(Target::start(&[body]).await.unwrap());
    }
    let recorder = Recorder::start(|_, _| Reply::default()).await.unwrap();
    let instances: Vec<_> = targets.iter().map(|t| t.address.to_string()).collect();
    let message = "io.prometheus.write.v2.Request";
    let args = SenderArgs::new(&instances, &recorder.url(), message);
    let sender = Sender::start(&args).await.unwrap();
    // `up` counts the scrapes of a target. Two scrapes of each target are enough.
    // Each request is decoded once, since the recorder cannot answer meanwhile.
    let (mut decoded, mut scrapes) = (0, std::collections::HashMap::new());
    let twice = |seen: &[harness::sender_peers::RecordedRequest]| {
        let new = seen[decoded..].iter();
        decoded = seen.len();
        let series = new.filter_map(|request| request.series().ok()).flatten();
        for up in series.filter(|series| series.name() == "up") {
            *scrapes.entry(up.label("instance").to_owned()).or_insert(0) += up.samples.len();
        }
        instances
            .iter()
            .all(|instance| scrapes.get(instance) >= Some(&2))
    };
    let seen = recorder.wait("two scrapes of all", twice).await.unwrap();
    sender.stop().await.unwrap();
    let mut failures = Vec::new();
    for ((name, _), instance) in cases.iter().zip(&instances) {
        let checked = Case::new(&seen, instance)
            .and_then(|case| {
                case.expect_valid()?;
                checks::check(name, &case)
            })
            .context(name.clone());
        failures.extend(checked.err().map(|error| format!("{error:#}")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
