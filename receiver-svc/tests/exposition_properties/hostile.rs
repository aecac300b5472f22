//! Parses malicious and malformed bodies.

use proptest::{collection::vec, prelude::*};
use receiver_svc::exposition::{AnyParser, Format, Parser, ParserOptions};

use crate::{model, render};

/// Number of labels in a body that has no value.
const LABELS: usize = 1_000_000;

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_terminates(body: Vec<u8>, options in options()) {
        for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
            exhaust(format, &options, &body);
        }
    }

    #[test]
    fn parsing_damaged_bodies_terminates(
        families in model::families(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        options in options(),
    ) {
        for (format, mut body) in [
            (Format::Text, render::text(&families).into_bytes()),
            (Format::OpenMetrics, render::openmetrics(&families).into_bytes()),
            (Format::Protobuf, render::protobuf(&families)),
        ] {
            for (at, byte) in edits.iter().filter(|_| !families.is_empty()) {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            exhaust(format, &options, &body);
        }
    }
}

#[test]
fn parses_a_million_labels_in_linear_time() {
    let body = format!("a{{{}}}", "b=\"\",".repeat(LABELS));
    let error = parse(Format::Text, body.as_bytes()).unwrap_err();
    assert_eq!(error, "line 1: expected a value, found the end of the body");
    let error = parse(Format::OpenMetrics, body.as_bytes()).unwrap_err();
    assert_eq!(
        error,
        "line 1: expected a space and a value, found the end of the body"
    );
}

/// A naive parser searches all following samples for `_created`, for each sample.
#[test]
fn reads_ahead_once_in_a_long_family_without_created_samples() {
    let samples: String = (0..200_000)
        .map(|i| format!("a_total{{b=\"{i}\"}} 1\n"))
        .collect();
    let body = format!("# TYPE a counter\n{samples}# EOF\n");
    let options = ParserOptions {
        start_timestamps: true,
        ..ParserOptions::default()
    };
    assert_eq!(
        exhaust(Format::OpenMetrics, &options, body.as_bytes()),
        200_001
    );
}

/// A naive parser inserts each bucket before all previous ones.
#[test]
fn sorts_decreasing_buckets_once() {
    let buckets: String = (0..200_000)
        .rev()
        .map(|i| format!("a_bucket{{le=\"{i}\"}} {i}\n"))
        .collect();
    let body = format!("# TYPE a histogram\n{buckets}");
    let options = ParserOptions {
        classic_to_nhcb: true,
        ..ParserOptions::default()
    };
    assert_eq!(exhaust(Format::Text, &options, body.as_bytes()), 2);
}

#[test]
fn rejects_a_message_that_declares_a_huge_length() {
    let error = parse(Format::Protobuf, &[0xff, 0xff, 0xff, 0xff, 0x7f]).unwrap_err();
    assert_eq!(
        error,
        "metric family 1: expected a message of 34359738367 bytes, found the end"
    );
}

fn options() -> impl Strategy<Value = ParserOptions> {
    any::<[bool; 5]>().prop_map(|[a, b, c, d, e]| ParserOptions {
        native_histograms: a,
        classic_to_nhcb: b,
        keep_classic: c,
        type_and_unit_labels: d,
        start_timestamps: e,
    })
}

/// Reads everything from a parser and returns the number of entries.
fn exhaust(format: Format, options: &ParserOptions, body: &[u8]) -> usize {
    let mut parser = AnyParser::new(format, options, body);
    let mut entries = 0;
    while let Ok(Some(_)) = parser.next() {
        entries += 1;
        parser.labels(&mut Vec::new());
        parser.start_timestamp();
        while parser.exemplar().is_some() {}
    }
    entries
}

fn parse(format: Format, body: &[u8]) -> Result<(), String> {
    let mut parser = AnyParser::new(format, &ParserOptions::default(), body);
    while parser.next().map_err(|error| error.to_string())?.is_some() {}
    Ok(())
}
