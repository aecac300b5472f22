//! Prometheus's own parser cases.

use std::{fs, path::Path};

use receiver_svc::exposition::{Format, ParseError, ParserOptions, Place};
use serde_json::Value;

use super::{Report, cases, entries};

/// Bodies with expected entries.
pub(super) fn good(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for row in cases::rows(&suites.join("textparse/good.jsonl"))? {
        report.case(cases::text(&row["id"]), || {
            let golden = cases::list(&row["entries"]);
            let input = cases::body(&row["input"]);
            entries::compare(format(&row)?, &options(&row), &input, golden)
        });
    }
    Ok(())
}

/// Bodies that are rejected, with the position of the mistake.
pub(super) fn bad(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for row in cases::rows(&suites.join("textparse/bad.jsonl"))? {
        report.case(cases::text(&row["id"]), || {
            let input = cases::body(&row["input"]);
            match entries::of(format(&row)?, &options(&row), &input) {
                Err(error) => has_place(&error, &input),
                Ok(found) => Err(format!("accepted: {found:?}")),
            }
        });
    }
    Ok(())
}

fn has_place(error: &ParseError, input: &[u8]) -> Result<(), String> {
    let lines = input.split(|&byte| byte == b'\n').count();
    let there = match error.place {
        Place::Line(line) => (1..=lines).contains(&line),
        Place::Family(family) => family == 1,
    };
    if there && !error.message.is_empty() {
        Ok(())
    } else {
        Err(format!("the place is not in the body: {error}"))
    }
}

/// Unusual bodies that are accepted or rejected.
pub(super) fn accepts(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for row in cases::rows(&suites.join("textparse/accepts.jsonl"))? {
        report.case(cases::text(&row["id"]), || {
            let found = entries::of(format(&row)?, &options(&row), &cases::body(&row["input"]));
            if row["accepts"] == found.is_ok() {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        });
    }
    Ok(())
}

/// Whole bodies with golden files, some of them with and without start timestamps.
pub(super) fn golden_bodies(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = suites.join("textparse");
    for name in cases::folder(&folder)? {
        let Some(stem) = name.strip_suffix(".entries.jsonl") else {
            continue;
        };
        let body = stem.trim_end_matches(".skip_created");
        let format = if body.ends_with(".om.txt") {
            Format::OpenMetrics
        } else {
            Format::Text
        };
        let options = ParserOptions {
            start_timestamps: stem != body,
            ..ParserOptions::default()
        };
        let golden = cases::rows(&folder.join(&name))?;
        let body = fs::read(folder.join(body))?;
        report.case(&name, || entries::compare(format, &options, &body, &golden));
    }
    Ok(())
}

fn format(row: &Value) -> Result<Format, String> {
    match cases::text(&row["format"]) {
        "PrometheusText" => Ok(Format::Text),
        "OpenMetricsText" => Ok(Format::OpenMetrics),
        "PrometheusProto" => Ok(Format::Protobuf),
        other => Err(format!("format {other:?}")),
    }
}

fn options(row: &Value) -> ParserOptions {
    let is = |key: &str| row["options"][key] == true;
    ParserOptions {
        native_histograms: !is("ignore_native_histograms"),
        classic_to_nhcb: is("convert_classic_histograms_to_nhcb"),
        keep_classic: is("always_scrape_classic_histograms"),
        type_and_unit_labels: is("enable_type_and_unit_labels"),
        start_timestamps: is("skip_created_series") || row["format"] == "PrometheusProto",
    }
}
