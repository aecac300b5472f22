//! Bodies that real programs exposed, with what Prometheus read from them.

use std::fs;

use receiver_svc::exposition::{Format, ParserOptions};
use serde_json::Value;

use crate::{entries, suite};

/// Golden files that differ in the exemplars of native histograms only.
///
/// Prometheus does not go back to the first exemplar when it goes on to the next
/// histogram of a family, so that the later ones lose as many as the first had.
/// Here all of them are given.
const EXEMPLARS_LOST: &[&str] = &[
    "client_golang_app/1.proto.native.entries.jsonl",
    "client_golang_app/1.proto.nhcb.entries.jsonl",
];

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn captured_bodies_give_the_entries_of_prometheus() {
    let mut compared = 0;
    for directory in fs::read_dir(suite::path("bodies")).unwrap() {
        let name = directory.unwrap().file_name().into_string().unwrap();
        let meta = suite::document(&format!("bodies/{name}/meta.json"));
        for capture in meta["captures"].as_array().unwrap() {
            compared += compare(&name, capture);
        }
    }
    assert!(compared > 0, "no golden files");
}

/// Compares a capture to its golden files and returns how many there were.
fn compare(name: &str, capture: &Value) -> usize {
    let Some(goldens) = capture["golden"].as_object() else {
        return 0;
    };
    let file = capture["file"].as_str().unwrap();
    let body = fs::read(suite::path("bodies").join(name).join(file)).unwrap();
    let format = Format::named(capture["content_type"].as_str()).unwrap();
    for (golden, how) in goldens {
        let is = |option: &str| how["options"][option] == "1";
        let options = ParserOptions {
            native_histograms: is("NATIVE"),
            classic_to_nhcb: is("NHCB"),
            keep_classic: is("CLASSIC"),
            type_and_unit_labels: false,
            start_timestamps: is("SKIPST"),
        };
        let id = format!("{name}/{golden}");
        let golden = suite::rows(&format!("bodies/{id}")).into_iter();
        let golden: Vec<_> = golden.map(entries::normal).collect();
        let found = entries::of(format, &options, &body).unwrap();
        let as_listed = EXEMPLARS_LOST.contains(&id.as_str());
        let same = entries::same(&found, &golden);
        assert_eq!(same.is_err(), as_listed, "{id}: {same:?}");
        let same = entries::same(&without_exemplars(found), &without_exemplars(golden));
        assert_eq!(same, Ok(()), "{id}");
    }
    goldens.len()
}

/// The same without exemplars of native histograms.
fn without_exemplars(mut entries: Vec<Value>) -> Vec<Value> {
    for entry in entries
        .iter_mut()
        .filter(|entry| entry["entry"] == "histogram")
    {
        entry.as_object_mut().unwrap().remove("exemplars");
    }
    entries
}

/// Every capture has to parse, also those without a golden file.
#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn all_captured_bodies_parse() {
    for directory in fs::read_dir(suite::path("bodies")).unwrap() {
        let name = directory.unwrap().file_name().into_string().unwrap();
        let meta = suite::document(&format!("bodies/{name}/meta.json"));
        for capture in meta["captures"].as_array().unwrap() {
            let file = capture["file"].as_str().unwrap();
            let body = fs::read(suite::path("bodies").join(&name).join(file)).unwrap();
            let format = Format::named(capture["content_type"].as_str()).unwrap();
            let found = entries::of(format, &ParserOptions::default(), &body);
            assert!(
                found.is_ok_and(|entries| !entries.is_empty()),
                "{name}/{file}"
            );
        }
    }
}
