//! Regular expressions, compared with Go's own `regexp`. The cases are beside the suites.

use std::{fs, path::Path};

use mesh_model::go_regexp::Regexp;
use serde::Deserialize;

use super::Report;

const CASES: &str = "../prototypes/regex_go_vs_rust.tsv";

/// An expression, a text and a template, compiled as Prometheus does.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Case {
    re: String,
    #[serde(rename = "In")]
    text: String,
    rep: String,
}

pub(super) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let path = suites.join(CASES);
    let Ok(cases) = fs::read_to_string(&path) else {
        report.case_unless_exempt(CASES, Some("the file is not there"), || Err(String::new()));
        return Ok(());
    };
    for line in cases.lines() {
        let (case, go) = line.split_once('\t').unwrap_or((line, ""));
        let go = go.split('\t').next().unwrap_or_default();
        let case: Case = serde_json::from_str(case)?;
        report.case(format!("{:?} on {:?}", case.re, case.text), || {
            let ours = outcome(&case);
            if agrees(&ours, go) {
                Ok(())
            } else {
                Err(format!("{ours}, in Go {go}"))
            }
        });
    }
    Ok(())
}

/// Outcome of a case, in the format of the file.
fn outcome(case: &Case) -> String {
    let regexp = match Regexp::new(&case.re) {
        Ok(regexp) => regexp,
        Err(error) => return format!("ERR {error}"),
    };
    match regexp.captures(&case.text) {
        None => "nomatch".to_owned(),
        Some(captures) => {
            let mut expanded = String::new();
            captures.expand(&case.rep, &mut expanded);
            format!("match {}", serde_json::Value::from(expanded))
        }
    }
}

/// Compares outcomes. Our error messages continue where those of Go end.
fn agrees(ours: &str, go: &str) -> bool {
    match go.strip_prefix("ERR ") {
        None => ours == go,
        Some(message) => {
            let mistake = message.split(": `").next().unwrap_or(message);
            ours.starts_with(&format!("ERR {mistake}: `"))
        }
    }
}
