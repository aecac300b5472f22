//! Round trips of bodies captured from real programs and of the parser suites.

use std::{fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use receiver_svc::exposition::ParserOptions;
use serde_json::Value;

use crate::round_trip::{options, round_trip};

const NATIVE: ParserOptions = ParserOptions {
    native_histograms: true,
    classic_to_nhcb: false,
    keep_classic: false,
    type_and_unit_labels: false,
    start_timestamps: true,
};

/// Parser options that produce different samples.
const PARSERS: [ParserOptions; 4] = [
    ParserOptions {
        native_histograms: false,
        start_timestamps: false,
        ..NATIVE
    },
    NATIVE,
    ParserOptions {
        keep_classic: true,
        ..NATIVE
    },
    ParserOptions {
        classic_to_nhcb: true,
        keep_classic: true,
        ..NATIVE
    },
];

fn suites(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/suites")).join(relative)
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn captured_bodies_survive_a_round_trip() {
    let mut samples = 0;
    for directory in fs::read_dir(suites("bodies")).unwrap() {
        let directory = directory.unwrap().path();
        let meta = fs::read(directory.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        let captures = meta["captures"].as_array().unwrap();
        let file = |capture: &Value| capture["file"].as_str().unwrap().to_owned();
        let firsts = captures
            .iter()
            .filter(|capture| file(capture).starts_with("1."));
        for first in firsts {
            let kind = &file(first)[1..];
            let read = |n| fs::read(directory.join(format!("{n}{kind}"))).unwrap();
            let bodies = [1, 2, 3].map(read);
            let [one, two, three] = bodies.each_ref().map(Vec::as_slice);
            let content_type = first["content_type"].as_str().unwrap();
            for parser in PARSERS {
                // The target fails once and then returns.
                let bodies = [one, two, b"", three];
                let outcome = round_trip(&options(parser), content_type, &bodies);
                samples += outcome.unwrap_or_else(|e| panic!("{directory:?} {kind}: {e}"));
            }
        }
    }
    assert!(samples > 10_000, "{samples} samples");
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn bodies_of_the_parser_suites_survive_a_round_trip() {
    for (file, content_type) in [
        ("textparse/good.jsonl", None),
        (
            "textparse/openmetrics_suite.jsonl",
            Some("application/openmetrics-text"),
        ),
    ] {
        for line in fs::read_to_string(suites(file)).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let body = match &row["input"] {
                Value::String(text) => text.clone().into_bytes(),
                other => BASE64_STANDARD
                    .decode(other["base64"].as_str().unwrap())
                    .unwrap(),
            };
            let content_type =
                content_type.unwrap_or_else(|| match row["format"].as_str().unwrap() {
                    "OpenMetricsText" => "application/openmetrics-text",
                    "PrometheusProto" => {
                        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited"
                    }
                    _ => "text/plain",
                });
            for parser in PARSERS {
                let outcome = round_trip(&options(parser), content_type, &[&body, &body]);
                outcome.unwrap_or_else(|e| panic!("{file} {row}: {e}"));
            }
        }
    }
}
