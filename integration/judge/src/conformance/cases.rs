//! Readers for the suites' files.
//!
//! A case without the expected form gives empty values, and so fails.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use mesh_model::labels::Labels;
use serde_json::Value;

/// Reads a file with one JSON value.
pub(super) fn document(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// Reads a file with one JSON value per line.
pub(super) fn rows(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let rows = text.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .with_context(|| path.display().to_string())
}

/// Names of the entries of a folder, sorted.
pub(super) fn folder(path: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<_> = names.collect::<anyhow::Result<_>>()?;
    names.sort();
    Ok(names)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    list(value)
        .iter()
        .map(|item| text(item).to_owned())
        .collect()
}

/// Reads a body. A body that is not UTF-8 is encoded as base64.
pub(super) fn body(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => BASE64_STANDARD
            .decode(text(&other["base64"]))
            .unwrap_or_default(),
    }
}

/// Reads a float, which may be encoded as text.
pub(super) fn float(number: &Value) -> f64 {
    let Some(text) = number.as_str() else {
        return number.as_f64().unwrap_or(f64::NAN);
    };
    match text.strip_prefix("NaN:0x") {
        Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).unwrap_or(u64::MAX)),
        None => text.parse().unwrap_or(f64::NAN),
    }
}

/// Reads a map of label names to values.
pub(super) fn labels(map: &Value) -> Labels {
    let map: BTreeMap<String, String> = serde_json::from_value(map.clone()).unwrap_or_default();
    map.into_iter().collect()
}

/// Compares two values.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("found {found:?}, expected {expected:?}"))
    }
}
