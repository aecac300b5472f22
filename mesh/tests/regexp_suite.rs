//! Expressions against what Go's own `regexp` did with them.

use mesh::go_regexp::Regexp;
use serde::Deserialize;

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/prototypes/regex_go_vs_rust.tsv"
);

/// An expression, a text and a template, compiled as Prometheus does.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Case {
    re: String,
    #[serde(rename = "In")]
    text: String,
    rep: String,
}

/// What became of a case, in the words of the file.
fn run(case: &Case) -> String {
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

/// Our messages go on where Go's end, after the mistake.
fn agrees(ours: &str, go: &str) -> bool {
    match go.strip_prefix("ERR ") {
        None => ours == go,
        Some(message) => {
            let mistake = message.split(": `").next().unwrap_or(message);
            ours.starts_with(&format!("ERR {mistake}: `"))
        }
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn expressions_do_what_they_do_in_go() {
    let cases = std::fs::read_to_string(CASES).expect("the cases");
    let mut differing = Vec::new();
    for line in cases.lines() {
        let mut columns = line.split('\t');
        let (case, go) = (columns.next(), columns.next());
        let case: Case = serde_json::from_str(case.expect("a case")).expect("a valid case");
        let (ours, go) = (run(&case), go.expect("Go's result"));
        if !agrees(&ours, go) {
            differing.push(format!(
                "{:?} on {:?}: {ours}, in Go {go}",
                case.re, case.text
            ));
        }
    }
    assert!(cases.lines().count() > 100, "there are cases");
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
