//! Targets for the bodies of scrapes, one per format.
//!
//! The first byte selects the parser options, the rest is the body.

use std::collections::HashMap;

use receiver_svc::exposition::{
    AnyParser, Counts, Entry, Format, Histogram, MetricType, ParseError, Parser, ParserOptions,
    Place,
};

/// Output of a parser that a second parse must reproduce.
#[derive(Debug, Default, PartialEq)]
struct Parse {
    /// Raw series and the bits of its value; 0 for native histograms.
    samples: Vec<(Vec<u8>, u64)>,
    entries: usize,
    error: Option<ParseError>,
}

/// Identity of a series: its raw text and the type and unit of its family.
type Key = (Vec<u8>, MetricType, String);

/// Parses a body of the Prometheus text format.
pub fn text(data: &[u8]) {
    run(Format::Text, data);
}

/// Parses a body of OpenMetrics.
pub fn openmetrics(data: &[u8]) {
    run(Format::OpenMetrics, data);
}

/// Parses a body of protobuf messages.
pub fn protobuf(data: &[u8]) {
    run(Format::Protobuf, data);
}

fn run(format: Format, data: &[u8]) {
    let Some((&bits, body)) = data.split_first() else {
        return;
    };
    let is = |bit: u8| bits & (1 << bit) != 0;
    let options = ParserOptions {
        native_histograms: is(0),
        classic_to_nhcb: is(1),
        keep_classic: is(2),
        type_and_unit_labels: is(3),
        start_timestamps: is(4),
    };
    let with_labels = parse(format, &options, body, true);
    assert_eq!(
        with_labels,
        parse(format, &options, body, false),
        "reading labels changed the parse"
    );
    // The smallest message with entries has two bytes. A message makes at most four.
    assert!(
        with_labels.entries <= 4 * (body.len() + 1),
        "more entries than the body can have"
    );
    if let Some(error) = with_labels.error {
        let (Place::Line(place) | Place::Family(place)) = error.place;
        assert!((1..=body.len() + 1).contains(&place), "{error}");
        assert!((1..500).contains(&error.message.len()), "{error}");
    }
}

/// Parses `body`. With `read_labels`, reads the labels and exemplars of each sample.
fn parse(format: Format, options: &ParserOptions, body: &[u8], read_labels: bool) -> Parse {
    let mut parser = AnyParser::new(format, options, body);
    let mut parse = Parse::default();
    let mut seen = HashMap::new();
    let (mut metric_type, mut unit) = (MetricType::default(), String::new());
    loop {
        let (raw, bits) = match parser.next() {
            Ok(None) => return parse,
            Err(error) => {
                parse.error = Some(error);
                return parse;
            }
            Ok(Some(Entry::Series(series))) => (series.raw.to_vec(), series.value.to_bits()),
            Ok(Some(Entry::Histogram(series))) => {
                check(&series.histogram);
                (series.raw.to_vec(), 0)
            }
            Ok(Some(other)) => {
                match other {
                    Entry::Type {
                        metric_type: new, ..
                    } => metric_type = new,
                    Entry::Unit { unit: new, .. } => unit = new.into_owned(),
                    // In protobuf, a family without a unit makes no unit entry.
                    Entry::Help { .. } if format == Format::Protobuf => unit.clear(),
                    _ => {}
                }
                parse.entries += 1;
                continue;
            }
        };
        if read_labels {
            let key = (raw.clone(), metric_type, unit.clone());
            check_labels(&mut parser, key, &mut seen);
        }
        parse.samples.push((raw, bits));
        parse.entries += 1;
    }
}

fn check_labels(
    parser: &mut AnyParser<'_>,
    key: Key,
    seen: &mut HashMap<Key, Vec<(String, String)>>,
) {
    let mut labels = Vec::new();
    parser.labels(&mut labels);
    let named = labels
        .iter()
        .any(|(name, value)| name == "__name__" && !value.is_empty());
    assert!(named, "{labels:?}");
    parser.start_timestamp();
    while parser.exemplar().is_some() {}
    let mut again = Vec::new();
    parser.labels(&mut again);
    assert_eq!(labels, again, "reading exemplars changed the labels");
    let first = seen.entry(key).or_insert_with(|| labels.clone());
    assert_eq!(*first, labels, "two series have the same text");
}

/// Checks that a native histogram has no empty span and as many counts as its spans
/// declare.
fn check(histogram: &Histogram) {
    let (positive, negative) = match &histogram.counts {
        Counts::Integer {
            positive_deltas,
            negative_deltas,
            ..
        } => (positive_deltas.len(), negative_deltas.len()),
        Counts::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    };
    for (spans, counts) in [
        (&histogram.positive_spans, positive),
        (&histogram.negative_spans, negative),
    ] {
        assert!(spans.iter().all(|span| span.length > 0), "{histogram:?}");
        let length: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        assert_eq!(length, counts as u64, "{histogram:?}");
    }
}
