//! Appends a body, encodes the samples and reads them back.

use std::collections::BTreeSet;

use mesh_model::labels::Labels;
use proto::v1::{self, histogram};
use receiver_svc::{
    exposition::{Counts, Histogram, ParserOptions, Span},
    otlp::{self, Resource},
    scrape::{
        AppendedSamples, Cache, InOrder, LabelLimits, Options, SampleValue, SampleView, Scrape,
    },
};

use crate::reader::{self, ReadSample, ReadValue};

pub(crate) const NOW_MS: i64 = 1_795_427_440_863;

/// Maximum size of an encoded part. Small enough to split most bodies.
const MAX_BYTES: usize = 4 << 10;

pub(crate) fn options(parser: ParserOptions) -> Options {
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

/// Scrapes the bodies one after the other and compares the samples that are read back.
///
/// Returns the number of samples.
///
/// # Errors
/// Returns a description of the first difference.
pub(crate) fn round_trip(
    options: &Options,
    content_type: &str,
    bodies: &[&[u8]],
) -> Result<usize, String> {
    let target: Labels = [("instance", "a:1"), ("job", "j")].into_iter().collect();
    let mut cache = Cache::new();
    let mut samples = 0;
    for (time_ms, body) in (NOW_MS..).step_by(15_000).zip(bodies) {
        let storage = InOrder::at(time_ms);
        let mut scrape = Scrape::begin(&mut cache, options, &target, storage, time_ms);
        if scrape.append(Some(content_type), body).is_err() {
            scrape.append_nothing();
        }
        scrape.report("up", None, SampleValue::Float(1.0));
        samples += compare(&scrape.commit())?;
    }
    Ok(samples)
}

fn compare(appended: &AppendedSamples<'_>) -> Result<usize, String> {
    let parts = otlp::encode(appended, &Resource::new("j", "a:1"), MAX_BYTES);
    let mut found = Vec::new();
    for part in &parts {
        let read = reader::read(&part.payload);
        let series: BTreeSet<_> = read.iter().map(|sample| &sample.labels).collect();
        if series.len() != read.len() {
            return Err("a part contains a series twice".to_owned());
        }
        if part.samples != read.len() as u64 {
            return Err(format!(
                "the part declares {} samples, found {}",
                part.samples,
                read.len()
            ));
        }
        found.extend(read);
    }
    let mut expected: Vec<_> = appended.samples().map(expected).collect();
    // Only the order within a series matters. The sort is stable.
    found.sort_by(|one, other| one.labels.cmp(&other.labels));
    expected.sort_by(|one, other| one.labels.cmp(&other.labels));
    for (found, expected) in found.iter().zip(&expected) {
        // Compares the debug text, in which all NaNs are equal. Float values are stored
        // as bits, so their NaNs still compare exactly.
        if format!("{found:?}") != format!("{expected:?}") {
            return Err(format!("found    {found:?}\nexpected {expected:?}"));
        }
    }
    if found.len() != expected.len() {
        return Err(format!(
            "found {} samples, expected {}",
            found.len(),
            expected.len()
        ));
    }
    Ok(found.len())
}

fn expected(sample: SampleView<'_>) -> ReadSample {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    ReadSample {
        labels: sample.labels().iter().map(owned).collect(),
        time_ms: sample.time_ms(),
        start_ms: sample
            .start_ms()
            .filter(|start| (1..18_446_744_073_709).contains(start)),
        value: match sample.value() {
            SampleValue::Float(value) => ReadValue::Float(value.to_bits()),
            SampleValue::Histogram(value) => ReadValue::Histogram(Box::new(histogram(value))),
            SampleValue::Stale => ReadValue::Stale,
        },
        exemplars: sample
            .exemplars
            .iter()
            .filter(|e| (0..18_446_744_073_709).contains(&e.timestamp.unwrap()))
            .map(|e| (e.timestamp.unwrap(), e.labels.clone(), e.value.to_bits()))
            .collect(),
        metadata: sample.metadata().map(|metadata| {
            let metric_type = metadata.metric_type.as_str().to_owned();
            [
                metadata.family.clone(),
                metric_type,
                metadata.help.clone(),
                metadata.unit.clone(),
            ]
        }),
    }
}

fn histogram(histogram: &Histogram) -> v1::Histogram {
    let spans = |spans: &[Span]| -> Vec<_> {
        let span = |span: &Span| v1::BucketSpan {
            offset: span.offset,
            length: span.length,
        };
        spans.iter().map(span).collect()
    };
    let (count, zero_count);
    let mut message = v1::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        positive_spans: spans(&histogram.positive_spans),
        negative_spans: spans(&histogram.negative_spans),
        custom_values: histogram.custom_values.clone(),
        reset_hint: if histogram.gauge { 3 } else { 0 },
        ..Default::default()
    };
    match &histogram.counts {
        Counts::Integer {
            count: all,
            zero_count: zero,
            positive_deltas,
            negative_deltas,
        } => {
            count = histogram::Count::CountInt(*all);
            zero_count = histogram::ZeroCount::ZeroCountInt(*zero);
            message.positive_deltas.clone_from(positive_deltas);
            message.negative_deltas.clone_from(negative_deltas);
        }
        Counts::Float {
            count: all,
            zero_count: zero,
            positive,
            negative,
        } => {
            count = histogram::Count::CountFloat(*all);
            zero_count = histogram::ZeroCount::ZeroCountFloat(*zero);
            message.positive_counts.clone_from(positive);
            message.negative_counts.clone_from(negative);
        }
    }
    (message.count, message.zero_count) = (Some(count), Some(zero_count));
    message
}
