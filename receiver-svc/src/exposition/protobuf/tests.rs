use prost::Message;
use proto::exposition as io;

use super::*;
use crate::exposition::{
    Counts,
    testing::{error, samples},
};

const NATIVE: ParserOptions = ParserOptions {
    native_histograms: true,
    classic_to_nhcb: false,
    keep_classic: false,
    type_and_unit_labels: false,
    start_timestamps: true,
};

fn body(kind: io::MetricType, metric: io::Metric) -> Vec<u8> {
    let family = io::MetricFamily {
        name: Some("a".to_owned()),
        r#type: Some(kind.into()),
        metric: vec![metric],
        ..io::MetricFamily::default()
    };
    family.encode_length_delimited_to_vec()
}

fn histogram(histogram: io::Histogram) -> Vec<u8> {
    let label = vec![io::LabelPair {
        name: Some("b".to_owned()),
        value: Some("c".to_owned()),
    }];
    let histogram = Some(histogram);
    let metric = io::Metric {
        label,
        histogram,
        ..io::Metric::default()
    };
    body(io::MetricType::Histogram, metric)
}

/// Histogram of two observations with classic and native buckets.
fn both() -> io::Histogram {
    let exemplar = io::Exemplar {
        label: vec![],
        value: Some(0.5),
        timestamp: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 2_000_000,
        }),
    };
    io::Histogram {
        sample_count: Some(2),
        sample_sum: Some(3.0),
        bucket: vec![io::Bucket {
            cumulative_count: Some(1),
            upper_bound: Some(1.0),
            exemplar: Some(exemplar),
            ..io::Bucket::default()
        }],
        schema: Some(0),
        positive_span: vec![io::BucketSpan {
            offset: Some(0),
            length: Some(2),
        }],
        positive_delta: vec![1, 0],
        created_timestamp: Some(prost_types::Timestamp {
            seconds: 4,
            nanos: 0,
        }),
        ..io::Histogram::default()
    }
}

const CLASSIC_SAMPLES: [&str; 4] = [
    "a_count{b=c} 2",
    "a_sum{b=c} 3",
    "a_bucket{b=c,le=1.0} 1",
    "a_bucket{b=c,le=+Inf} 2",
];

#[test]
fn the_options_select_classic_and_native_histograms() {
    let body = histogram(both());
    let read = |options| samples(ProtobufParser::new(&body, options));
    let native = ["a{b=c} schema 0"];
    let nhcb = ["a{b=c} schema -53"];
    let (yes, no) = (true, false);
    for (native_histograms, classic_to_nhcb, keep_classic, want) in [
        (no, no, no, CLASSIC_SAMPLES.to_vec()),
        (yes, no, no, native.to_vec()),
        (yes, no, yes, [&native[..], &CLASSIC_SAMPLES].concat()),
        // An exposed native histogram wins over conversion.
        (yes, yes, no, native.to_vec()),
        (no, yes, no, nhcb.to_vec()),
        (no, yes, yes, [&CLASSIC_SAMPLES[..], &nhcb].concat()),
    ] {
        let options = ParserOptions {
            native_histograms,
            classic_to_nhcb,
            keep_classic,
            ..NATIVE
        };
        assert_eq!(read(options), want, "{options:?}");
    }
}

#[test]
fn each_sample_has_its_start_and_exemplars() {
    let body = histogram(both());
    let mut parser = ProtobufParser::new(&body, ParserOptions::default());
    let mut exemplars = Vec::new();
    while let Some(entry) = parser.next().unwrap() {
        if matches!(entry, Entry::Series(_)) {
            assert_eq!(parser.start_timestamp(), Some(4000));
            exemplars.push(std::iter::from_fn(|| parser.exemplar()).count());
        }
    }
    assert_eq!(exemplars, [0, 0, 1, 0]);
    let mut parser = ProtobufParser::new(&body, NATIVE);
    while !matches!(parser.next().unwrap().unwrap(), Entry::Histogram(_)) {}
    assert_eq!(
        parser.exemplar().and_then(|exemplar| exemplar.timestamp),
        Some(1002)
    );
    assert_eq!(parser.exemplar(), None);
}

#[test]
fn parses_float_counts() {
    let fractions = io::Histogram {
        sample_count_float: Some(1.5),
        positive_count: vec![0.5, 1.0],
        sample_count: None,
        positive_delta: vec![],
        ..both()
    };
    let body = histogram(fractions);
    let mut parser = ProtobufParser::new(&body, NATIVE);
    let counts = loop {
        if let Entry::Histogram(series) = parser.next().unwrap().unwrap() {
            break series.histogram.counts;
        }
    };
    let (positive, negative) = (vec![0.5, 1.0], vec![]);
    assert_eq!(
        counts,
        Counts::Float {
            count: 1.5,
            zero_count: 0.0,
            positive,
            negative
        }
    );
    let classic = samples(ProtobufParser::new(&body, ParserOptions::default()));
    assert_eq!(classic[0], "a_count{b=c} 1.5");
}

#[test]
fn a_summary_returns_its_quantiles_last() {
    let summary = Some(io::Summary {
        sample_count: Some(2),
        sample_sum: Some(3.0),
        quantile: vec![io::Quantile {
            quantile: Some(0.5),
            value: Some(1.0),
        }],
        created_timestamp: None,
    });
    let metric = io::Metric {
        summary,
        timestamp_ms: Some(7),
        ..io::Metric::default()
    };
    let body = body(io::MetricType::Summary, metric);
    let want = ["a_count 2 @7", "a_sum 3 @7", "a{quantile=0.5} 1 @7"];
    assert_eq!(samples(ProtobufParser::new(&body, NATIVE)), want);
}

#[test]
fn skips_a_family_without_metrics() {
    let body = io::MetricFamily::default().encode_length_delimited_to_vec();
    assert_eq!(ProtobufParser::new(&body, NATIVE).next(), Ok(None));
}

#[test]
fn errors_name_the_family_and_the_expected_content() {
    let good = body(io::MetricType::Gauge, io::Metric::default());
    let after_good = |bad: Vec<u8>| {
        let body = [good.clone(), bad].concat();
        error(ProtobufParser::new(&body, NATIVE))
    };
    let spans = io::Histogram {
        positive_delta: vec![1],
        ..both()
    };
    assert_eq!(
        after_good(histogram(spans)),
        "metric family 2: expected 2 positive buckets from the spans, found 1"
    );
    let mut unknown = good.clone();
    let at = unknown.iter().position(|&byte| byte == 0x18).unwrap() + 1;
    unknown[at] = 9;
    assert_eq!(
        after_good(unknown),
        "metric family 2: expected a metric type of 0 to 5, found 9"
    );
    let nameless = vec![2, 0x22, 0];
    assert_eq!(
        after_good(nameless),
        "metric family 2: expected a metric name, found none"
    );
    let unnamed = io::Metric {
        label: vec![io::LabelPair::default()],
        ..io::Metric::default()
    };
    let unnamed = body(io::MetricType::Gauge, unnamed);
    assert_eq!(
        after_good(unnamed),
        "metric family 2: expected a label name, found none"
    );
    let text = vec![3, 0x0a, 1, 0xff];
    assert_eq!(
        after_good(text),
        "metric family 2: expected UTF-8 in field 1"
    );
    assert_eq!(
        after_good(vec![200, 1]),
        "metric family 2: expected a message of 200 bytes, found the end"
    );
}
