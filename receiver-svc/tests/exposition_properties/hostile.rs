//! Bodies that nobody should send.

use proptest::{collection::vec, prelude::*};
use receiver_svc::exposition::{AnyParser, Format, Parser, ParserOptions};

use crate::{model, render};

/// A label each, and no value in the end.
const LABELS: usize = 1_000_000;

proptest! {
    #[test]
    fn any_bytes_come_to_an_end(body: Vec<u8>, options in options()) {
        for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
            exhaust(format, &options, &body);
        }
    }

    #[test]
    fn broken_bodies_come_to_an_end(
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
fn a_million_labels_are_read_one_after_the_other() {
    let body = format!("a{{{}}}", "b=\"\",".repeat(LABELS));
    let error = parse(Format::Text, body.as_bytes()).unwrap_err();
    assert_eq!(error, "line 1: expected a value, found the end of the body");
    let error = parse(Format::OpenMetrics, body.as_bytes()).unwrap_err();
    assert_eq!(
        error,
        "line 1: expected a blank and a value, found the end of the body"
    );
}

/// Each would look for a `_created` sample through all that follow it.
#[test]
fn a_long_family_without_starts_is_read_ahead_once() {
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

/// Each would be inserted before all that came before it.
#[test]
fn falling_buckets_are_sorted_once() {
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
fn a_message_that_claims_to_be_huge_is_refused_at_once() {
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

/// Asks a parser for all it has and returns how many entries it gave.
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
