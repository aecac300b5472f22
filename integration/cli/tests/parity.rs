//! Compares what promesh and a real Prometheus server store of the same targets.

use std::time::Duration;

use bytes::Bytes;
use harness::prometheus::{Program, Version};
use judge::parity::{self, Capture, Recording, Setting};
use prost::Message;
use proto::exposition::{
    Bucket, BucketSpan, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
/// Interval and timeout of scrapes. Long enough for a busy machine.
const INTERVAL: Duration = Duration::from_secs(4);

fn recording(kind: &str, content_type: &str, bodies: [Vec<u8>; 2]) -> Recording {
    let captures = bodies.map(|body| Capture {
        content_type: Some(content_type.to_owned()),
        body: Bytes::from(body),
    });
    Recording {
        source: "test".to_owned(),
        kind: kind.to_owned(),
        captures: captures.into(),
    }
}

/// All types, special values and incomplete families. In the second body one series has
/// ended and another has begun.
fn text() -> Recording {
    let body = |n: u32, last: &str| {
        format!(
            "# TYPE a_total counter
a_total{{x=\"{n}\"}} {n}
# TYPE odd gauge
odd{{v=\"nan\"}} NaN
odd{{v=\"zero\"}} -0
odd{{v=\"infinite\"}} -Inf
odd{{v=\"exact\"}} 0.1000000000000000055
odd{{v=\"escaped \\\" \\\\ \\n\"}} 1e300
# TYPE s summary
s{{quantile=\"0.50\"}} {n}
s_sum 3
s_count {n}
# TYPE h histogram
h_bucket{{le=\"1\"}} {n}
h_bucket{{le=\"2.5\"}} 7
h_bucket{{le=\"+Inf\"}} 9
h_sum 12.5
h_count 9
# TYPE no_sum histogram
no_sum_bucket{{le=\"+Inf\"}} {n}
untyped_metric {n}
{last} 1
"
        )
    };
    let bodies = [body(1, "last{a=\"1\"}"), body(2, "last{a=\"2\"}")];
    recording("text", TEXT, bodies.map(String::into_bytes))
}

fn openmetrics() -> Recording {
    let body = |n: u32| {
        format!(
            "# TYPE a counter
# UNIT a_seconds seconds
a_total {n}.5 # {{trace_id=\"0af7\"}} 1
a_created 1700000000.123
# TYPE i info
i_info{{version=\"{n}\"}} 1
# TYPE st stateset
st{{st=\"on\"}} {}
st{{st=\"off\"}} 0
# TYPE h histogram
h_bucket{{le=\"1.0\"}} {n}
h_bucket{{le=\"+Inf\"}} 9
h_sum 12.5
h_count 9
h_created 1700000000.123
# TYPE g gaugehistogram
g_bucket{{le=\"+Inf\"}} {n}
g_gsum 1
g_gcount {n}
# EOF
",
            n % 2
        )
    };
    recording(
        "om",
        OPEN_METRICS,
        [body(1), body(2)].map(String::into_bytes),
    )
}

/// A native histogram with classic buckets, and one without.
fn protobuf() -> Recording {
    let span = |offset, length| BucketSpan {
        offset: Some(offset),
        length: Some(length),
    };
    let bucket = |upper_bound, count| Bucket {
        upper_bound: Some(upper_bound),
        cumulative_count: Some(count),
        ..Default::default()
    };
    let both = |n: i64| Histogram {
        sample_count: Some(3 * n as u64 + 1),
        sample_sum: Some(2.5 * n as f64),
        bucket: vec![bucket(1.0, n as u64), bucket(2.0, 3 * n as u64)],
        schema: Some(3),
        zero_threshold: Some(1e-3),
        zero_count: Some(1),
        positive_span: vec![span(0, 1), span(2, 1)],
        positive_delta: vec![n, n],
        ..Default::default()
    };
    let native = |n: i64| Histogram {
        bucket: Vec::new(),
        negative_span: vec![span(-4, 2)],
        negative_delta: vec![n, 0],
        sample_count: Some(5 * n as u64 + 1),
        ..both(n)
    };
    let body = |n: i64| {
        let families = [("both", both(n)), ("native", native(n))].map(|(name, histogram)| {
            let family = MetricFamily {
                name: Some(name.to_owned()),
                r#type: Some(MetricType::Histogram.into()),
                metric: vec![Metric {
                    label: vec![LabelPair {
                        name: Some("x".to_owned()),
                        value: Some("y".to_owned()),
                    }],
                    histogram: Some(histogram),
                    ..Default::default()
                }],
                ..Default::default()
            };
            family.encode_length_delimited_to_vec()
        });
        families.concat()
    };
    recording("proto", PROTOBUF, [body(1), body(2)])
}

#[tokio::test(flavor = "multi_thread")]
async fn promesh_stores_the_same_as_prometheus() {
    let prometheus = Program::find().await.unwrap();
    let native = prometheus.version >= Version { major: 3, minor: 0 };
    let setting = Setting {
        prometheus,
        cortex: None,
        program: env!("CARGO_BIN_EXE_integration").into(),
        interval: INTERVAL,
        protobuf_message: "prometheus.WriteRequest".to_owned(),
    };
    let recordings = [text(), openmetrics(), protobuf()];
    let comparison = parity::recorded(&setting, &recordings).await.unwrap();
    assert!(comparison.differences.is_empty(), "{comparison}");
    assert!(comparison.samples > 300, "{comparison}");
    assert!(comparison.markers > 50, "{comparison}");
    assert!(!native || comparison.histograms > 20, "{comparison}");
}
