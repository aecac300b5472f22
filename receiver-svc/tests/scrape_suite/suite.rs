//! Where the suites lie and how their rows are read.

use std::{fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
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

/// The body in a row; bytes that are not UTF-8 come as base64.
pub(crate) fn body(row: &Value) -> Vec<u8> {
    match &row["body"] {
        Value::String(text) => text.clone().into_bytes(),
        other => BASE64_STANDARD
            .decode(other["base64"].as_str().unwrap())
            .unwrap(),
    }
}

/// A float, as text or not, as its bits.
pub(crate) fn bits(number: &Value) -> u64 {
    let Some(text) = number.as_str() else {
        return number.as_f64().unwrap().to_bits();
    };
    match text.strip_prefix("NaN:0x") {
        Some(bits) => u64::from_str_radix(bits, 16).unwrap(),
        None => text.parse::<f64>().unwrap().to_bits(),
    }
}
