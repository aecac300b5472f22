//! Bodies of real programs, and the entries that Prometheus reads from them.

use std::{fs, path::Path};

use receiver_svc::exposition::{Format, ParserOptions};
use serde_json::Value;

use super::{Report, cases, entries};

/// Golden files that differ only in the exemplars of native histograms.
const EXEMPLARS_LOST: &[&str] = &[
    "client_golang_app/1.proto.native.entries.jsonl",
    "client_golang_app/1.proto.nhcb.entries.jsonl",
];

/// Reason for the difference.
const ALL_EXEMPLARS: &str = "Prometheus loses exemplars of the later histograms in a family, as many as \
     the first one has; promesh returns all exemplars, and all else is equal";

/// Parses each capture, including those without a golden file.
pub(super) fn parse(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    each_capture(suites, |id, body, capture| {
        report.case(id, || {
            let found = entries::of(format(capture)?, &ParserOptions::default(), body);
            let found = found.map_err(|error| error.to_string())?;
            if found.is_empty() {
                Err("no entries".to_owned())
            } else {
                Ok(())
            }
        });
        Ok(())
    })
}

/// Compares the entries of each capture with its golden files.
pub(super) fn golden(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    each_capture(suites, |id, body, capture| {
        let folder = suites.join("bodies").join(id).with_file_name("");
        for (file, how) in capture["golden"].as_object().into_iter().flatten() {
            let golden = cases::rows(&folder.join(file))?;
            let golden: Vec<_> = golden.into_iter().map(entries::normal).collect();
            let found = || {
                let found = entries::of(format(capture)?, &options(how), body);
                found.map_err(|error| error.to_string())
            };
            let (source, _) = id.split_once('/').unwrap_or((id, ""));
            let id = format!("{source}/{file}");
            let exemption = EXEMPLARS_LOST.contains(&&*id).then_some(ALL_EXEMPLARS);
            report.case_unless_exempt(&id, exemption, || entries::same(&found()?, &golden));
            if exemption.is_some() {
                report.case(format!("{id} without exemplars"), || {
                    entries::same(&without_exemplars(found()?), &without_exemplars(golden))
                });
            }
        }
        Ok(())
    })
}

/// Calls `visit` with each capture's name, body and description.
fn each_capture(
    suites: &Path,
    mut visit: impl FnMut(&str, &[u8], &Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for source in cases::folder(&suites.join("bodies"))? {
        let folder = suites.join("bodies").join(&source);
        let meta = cases::document(&folder.join("meta.json"))?;
        for capture in cases::list(&meta["captures"]) {
            let file = cases::text(&capture["file"]);
            let body = fs::read(folder.join(file))?;
            visit(&format!("{source}/{file}"), &body, capture)?;
        }
    }
    Ok(())
}

fn format(capture: &Value) -> Result<Format, String> {
    Format::from_content_type(capture["content_type"].as_str()).map_err(|error| error.to_string())
}

fn options(golden: &Value) -> ParserOptions {
    let is = |option: &str| golden["options"][option] == "1";
    ParserOptions {
        native_histograms: is("NATIVE"),
        classic_to_nhcb: is("NHCB"),
        keep_classic: is("CLASSIC"),
        type_and_unit_labels: false,
        start_timestamps: is("SKIPST"),
    }
}

/// Removes the exemplars of native histograms.
fn without_exemplars(mut entries: Vec<Value>) -> Vec<Value> {
    let histograms = entries
        .iter_mut()
        .filter(|entry| entry["entry"] == "histogram");
    for fields in histograms.filter_map(Value::as_object_mut) {
        fields.remove("exemplars");
    }
    entries
}
