//! Selection by labels and namespaces.

use std::{collections::BTreeMap, path::Path};

use mesh_monitors::{Kind, Monitor, Settings, Verdict, generate, verdict};
use serde_json::Value;

use super::{Stored, cases::same_jobs, files, jobs, monitors, normal, rows, settings};
use crate::conformance::Report;

pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in rows(suites, "selection.jsonl")? {
        report.case(files::text(&case["name"]), || check(&case));
    }
    Ok(())
}

fn check(case: &Value) -> Result<(), String> {
    let settings = settings(case)?;
    let stored = Stored::of(case);
    for kind in Kind::ALL {
        for monitor in monitors(case, kind)? {
            let expected = files::text(&case["expected_verdicts"][monitor.to_string()]);
            let expected = expected.split(':').next().unwrap_or_default();
            let found = of(case, &settings, &stored, &monitor);
            if found != expected {
                return Err(format!("{monitor}: found {found:?}, expected {expected:?}"));
            }
        }
    }
    let keep = |monitor: &Monitor| of(case, &settings, &stored, monitor) == "selected";
    let found = jobs(case, &settings, &stored, keep)?;
    same_jobs(normal::found(found, case), &normal::expected(case))
}

fn of(case: &Value, settings: &Settings, stored: &Stored, monitor: &Monitor) -> &'static str {
    if verdict(settings, monitor, &labels(case, &monitor.namespace)) == Verdict::NotSelected {
        return "not selected";
    }
    match generate(monitor, settings, stored) {
        Ok(_) => "selected",
        Err(_) => "rejected",
    }
}

fn labels(case: &Value, namespace: &str) -> BTreeMap<String, String> {
    let mut all = files::list(&case["namespaces"]).iter();
    let found = all.find(|object| object["name"] == namespace);
    let labels = found.map(|object| object["labels"].clone());
    labels
        .and_then(|labels| serde_json::from_value(labels).ok())
        .unwrap_or_default()
}
