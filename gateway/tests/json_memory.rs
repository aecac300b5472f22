//! Compares the estimated memory of OTLP/JSON requests with the bytes that an allocator counts.
//!
//! The allocator counts the whole process, so there is only one test.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A request with one metric whose data is `data`.
fn metric(data: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{data}}}]}}]}}]}}"#)
}

/// A list of `count` elements.
fn list(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

fn bodies(count: usize) -> Vec<(&'static str, String)> {
    let points = |kind: &str, point: &str| {
        metric(&format!(
            r#""{kind}":{{"dataPoints":{}}}"#,
            list(point, count)
        ))
    };
    let of_point = |field: &str, element: &str| {
        let point = format!(r#"{{"{field}":{}}}"#, list(element, count));
        metric(&format!(r#""histogram":{{"dataPoints":[{point}]}}"#))
    };
    let buckets = format!(r#"{{"positive":{{"bucketCounts":{}}}}}"#, list("1", count));
    let ids = format!(
        r#"{{"entityRefs":[{{"idKeys":{}}}]}}"#,
        list(r#""a""#, count)
    );
    let attribute = r#"{"key":"a","value":{"stringValue":"b"}}"#;
    vec![
        (
            "resources",
            format!(r#"{{"resourceMetrics":{}}}"#, list("{}", count)),
        ),
        (
            "metrics",
            format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":{}}}]}}]}}"#,
                list("{}", count)
            ),
        ),
        ("numbers", points("gauge", "{}")),
        ("histograms", points("histogram", "{}")),
        (
            "exponentials",
            points("exponentialHistogram", r#"{"positive":{}}"#),
        ),
        ("summaries", points("summary", r#"{"quantileValues":[{}]}"#)),
        (
            "points with attributes",
            points(
                "sum",
                &format!(r#"{{"attributes":{}}}"#, list(attribute, 3)),
            ),
        ),
        ("attributes", of_point("attributes", "{}")),
        ("exemplars", of_point("exemplars", "{}")),
        ("counts", of_point("bucketCounts", "1")),
        ("bounds", of_point("explicitBounds", "1")),
        (
            "exponential counts",
            metric(&format!(
                r#""exponentialHistogram":{{"dataPoints":[{buckets}]}}"#
            )),
        ),
        (
            "ids",
            format!(r#"{{"resourceMetrics":[{{"resource":{ids}}}]}}"#),
        ),
        (
            "text",
            metric(&format!(r#""name":"{}""#, "a".repeat(10 * count))),
        ),
    ]
}

#[test]
fn never_estimates_less_than_decoding_needs() {
    for (name, body) in bodies(3).into_iter().chain(bodies(65_537)) {
        let estimated = gateway::json::decoded_bytes(body.as_bytes());
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let decoded = gateway::json::decode(body.as_bytes());
        let peak = ALLOCATOR.peak_usage() - before;
        assert!(decoded.is_ok(), "{name}: {decoded:?}");
        let len = body.len();
        assert!(peak <= estimated, "{name}: {peak} > {estimated} of {len}");
    }
}
