//! Bodies of scrapes, one target for each format.
//!
//! The first byte says how the parser is configured, the rest is the body.

use std::collections::HashMap;

use receiver_svc::exposition::{
    AnyParser, Counts, Entry, Format, Histogram, MetricType, ParseError, Parser, ParserOptions,
    Place,
};

/// What a parser returned, as far as a second parse has to return the same.
#[derive(Debug, Default, PartialEq)]
struct Parse {
    /// Raw series and bits of the value, 0 for native histograms.
    samples: Vec<(Vec<u8>, u64)>,
    entries: usize,
    error: Option<ParseError>,
}

/// Tells series apart: equal bytes in a family of one type and unit are one.
type Key = (Vec<u8>, MetricType, String);

/// A body of the Prometheus text format.
pub fn text(data: &[u8]) {
    run(Format::Text, data);
}

/// A body of OpenMetrics.
pub fn openmetrics(data: &[u8]) {
    run(Format::OpenMetrics, data);
}

/// A body of protobuf messages.
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
    let asked = parse(format, &options, body, true);
    assert_eq!(
        asked,
        parse(format, &options, body, false),
        "asking changed the parse"
    );
    // The least message that makes entries has two bytes, the most are four.
    assert!(
        asked.entries <= 4 * (body.len() + 1),
        "more entries than the body can have"
    );
    if let Some(error) = asked.error {
        let (Place::Line(place) | Place::Family(place)) = error.place;
        assert!((1..=body.len() + 1).contains(&place), "{error}");
        assert!((1..500).contains(&error.message.len()), "{error}");
    }
}

/// Parses `body` and, with `ask`, asks for all there is about each sample.
fn parse(format: Format, options: &ParserOptions, body: &[u8], ask: bool) -> Parse {
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
                    // In protobuf a family without a unit gives none.
                    Entry::Help { .. } if format == Format::Protobuf => unit.clear(),
                    _ => {}
                }
                parse.entries += 1;
                continue;
            }
        };
        if ask {
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
    assert_eq!(labels, again, "asking changed the labels");
    let known = seen.entry(key).or_insert_with(|| labels.clone());
    assert_eq!(*known, labels, "two series have one text");
}

/// A native histogram has as many counts as its spans say, and no empty span.
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
