//! Target for the path of a scrape through the mesh.
//!
//! The series that an exporter writes must equal the appended samples.

use exporter_svc::translate::sink::NativeHistograms;
use mesh_contract::batch::Origin;
use mesh_model::labels::Labels;
use mesh_wire::otlp::split_resource_metrics;
use proto::v1::TimeSeries;
use receiver_svc::{
    exposition::ParserOptions,
    otlp::{self, Resource},
    scrape::{Cache, InOrder, LabelLimits, Options, STALE_NAN, SampleValue, SampleView, Scrape},
};

use super::transcode;

const NOW_MS: i64 = 1_795_427_440_863;
/// Maximum size of an encoded part. It is small, so that scrapes are split.
const MAX_BYTES: usize = 4 << 10;

/// A comparable sample: its series, its time and the bits of its value. A histogram
/// is reduced to its schema and sum.
#[derive(Debug, PartialEq, PartialOrd)]
struct Sample {
    labels: Vec<(String, String)>,
    time_ms: i64,
    schema: Option<i32>,
    bits: u64,
}

/// Reads the first byte as settings and the rest as two consecutive bodies, separated
/// by a line `~`.
pub fn run(data: &[u8]) {
    let Some((&bits, bodies)) = data.split_first() else {
        return;
    };
    let is = |bit: u8| bits & (1 << bit) != 0;
    let options = options(ParserOptions {
        native_histograms: true,
        classic_to_nhcb: is(0),
        keep_classic: is(1),
        type_and_unit_labels: false,
        start_timestamps: is(2),
    });
    let content_type = match bits >> 6 {
        0 => "text/plain; version=0.0.4",
        1 => "application/openmetrics-text; version=1.0.0",
        _ => {
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        }
    };
    let target: Labels = [("instance", "a:1"), ("job", "j")].into_iter().collect();
    let mut cache = Cache::new();
    for (time_ms, body) in (NOW_MS..).step_by(15_000).zip(halves(bodies)) {
        let storage = InOrder::at(time_ms);
        let mut scrape = Scrape::begin(&mut cache, &options, &target, storage, time_ms);
        if scrape.append(Some(content_type), body).is_err() {
            scrape.append_nothing();
        }
        scrape.report("up", None, SampleValue::Float(1.0));
        let appended = scrape.commit();
        let parts = otlp::encode(&appended, &Resource::new("j", "a:1"), MAX_BYTES);
        let mut found: Vec<_> = parts.iter().flat_map(written).collect();
        let mut expected: Vec<_> = appended.samples().map(expected).collect();
        // The order of samples matters within a series, but not between series.
        found.sort_by(|one, other| one.labels.cmp(&other.labels));
        expected.sort_by(|one, other| one.labels.cmp(&other.labels));
        assert_eq!(found, expected);
    }
}

fn halves(bodies: &[u8]) -> [&[u8]; 2] {
    let at = bodies.windows(3).position(|bytes| bytes == b"\n~\n");
    match at {
        Some(at) => [&bodies[..at + 1], &bodies[at + 3..]],
        None => [bodies, b""],
    }
}

fn written(part: &otlp::Encoded) -> Vec<Sample> {
    let translator = transcode::translator(NativeHistograms::All);
    let context = transcode::batch_context(Origin::Scrape);
    let resources = split_resource_metrics(&part.payload).expect("a batch is part of a request");
    let translated = translator.translate(&context, &resources);
    let translated = translated.expect("a batch is well-formed");
    assert_eq!(translated.units, part.samples);
    assert_eq!(translated.problem, None);
    let series = transcode::series(&translated);
    series.into_iter().map(sample).collect()
}

fn sample(series: TimeSeries) -> Sample {
    let labels = series.labels.into_iter();
    let (time_ms, schema, value) = match (series.samples.first(), series.histograms.first()) {
        (Some(sample), None) => (sample.timestamp, None, sample.value),
        (None, Some(histogram)) => (histogram.timestamp, Some(histogram.schema), histogram.sum),
        other => panic!("{other:?}"),
    };
    Sample {
        labels: labels.map(|label| (label.name, label.value)).collect(),
        time_ms,
        schema,
        bits: value.to_bits(),
    }
}

fn expected(sample: SampleView<'_>) -> Sample {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let (schema, value) = match sample.value() {
        SampleValue::Float(value) => (None, *value),
        SampleValue::Histogram(histogram) => (Some(histogram.schema), histogram.sum),
        SampleValue::Stale => (None, STALE_NAN),
    };
    Sample {
        labels: sample.labels().iter().map(owned).collect(),
        time_ms: sample.time_ms(),
        schema,
        bits: value.to_bits(),
    }
}

fn options(parser: ParserOptions) -> Options {
    Options {
        parser,
        fallback: None,
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: true,
        metric_relabel_configs: Vec::new().into(),
        validation_scheme: Default::default(),
        sample_limit: 0,
        label_limits: LabelLimits::default(),
        bucket_limit: 0,
        max_schema: 8,
        extra_scrape_metrics: false,
    }
}
