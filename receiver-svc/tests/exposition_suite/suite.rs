//! Where the suites lie and how their rows are read.

use std::{fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use receiver_svc::exposition::{Format, ParserOptions};
use serde_json::Value;

pub(crate) fn path(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/suites")).join(relative)
}

/// All rows of a file of one JSON value per line.
pub(crate) fn rows(relative: &str) -> Vec<Value> {
    let text = fs::read_to_string(path(relative)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A file that is one JSON value.
pub(crate) fn document(relative: &str) -> Value {
    serde_json::from_slice(&fs::read(path(relative)).unwrap()).unwrap()
}

/// The body in a row; bytes that are not UTF-8 come as base64.
pub(crate) fn input(row: &Value) -> Vec<u8> {
    match &row["input"] {
        Value::String(text) => text.clone().into_bytes(),
        other => BASE64_STANDARD
            .decode(other["base64"].as_str().unwrap())
            .unwrap(),
    }
}

pub(crate) fn format(row: &Value) -> Format {
    match row["format"].as_str().unwrap() {
        "PrometheusText" => Format::Text,
        "OpenMetricsText" => Format::OpenMetrics,
        "PrometheusProto" => Format::Protobuf,
        other => panic!("format {other}"),
    }
}

pub(crate) fn options(row: &Value) -> ParserOptions {
    let is = |key: &str| row["options"][key] == true;
    ParserOptions {
        native_histograms: !is("ignore_native_histograms"),
        classic_to_nhcb: is("convert_classic_histograms_to_nhcb"),
        keep_classic: is("always_scrape_classic_histograms"),
        type_and_unit_labels: is("enable_type_and_unit_labels"),
        start_timestamps: is("skip_created_series") || row["format"] == "PrometheusProto",
    }
}
