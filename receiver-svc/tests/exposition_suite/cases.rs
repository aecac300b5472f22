//! Prometheus' own parser cases and the OpenMetrics test suite, measured by
//! what Prometheus says to them.

use std::fs;

use receiver_svc::exposition::{Format, ParserOptions, Place};
use serde_json::Value;

use crate::{entries, suite};

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn good_bodies_give_the_entries_of_prometheus() {
    for row in suite::rows("textparse/good.jsonl") {
        let id = row["id"].as_str().unwrap();
        let golden = row["entries"].as_array().unwrap();
        let (format, options) = (suite::format(&row), suite::options(&row));
        entries::assert_golden(id, format, &options, &suite::input(&row), golden);
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn bad_bodies_are_refused_with_a_line() {
    for row in suite::rows("textparse/bad.jsonl") {
        let input = suite::input(&row);
        let found = entries::of(suite::format(&row), &suite::options(&row), &input);
        let error = found.expect_err(row["id"].as_str().unwrap());
        match error.place {
            Place::Line(line) => {
                let lines = input.split(|&byte| byte == b'\n').count();
                assert!((1..=lines).contains(&line), "{}: {error}", row["id"]);
            }
            Place::Family(family) => assert_eq!(family, 1, "{}: {error}", row["id"]),
        }
        assert!(!error.message.is_empty());
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn odd_bodies_are_accepted_as_by_prometheus() {
    for row in suite::rows("textparse/accepts.jsonl") {
        let found = entries::of(
            suite::format(&row),
            &suite::options(&row),
            &suite::input(&row),
        );
        assert_eq!(
            Value::from(found.is_ok()),
            row["accepts"],
            "{}: {found:?}",
            row["id"]
        );
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn the_openmetrics_suite_has_the_verdicts_of_prometheus() {
    let options = ParserOptions::default();
    for row in suite::rows("textparse/openmetrics_suite.jsonl") {
        let id = row["id"].as_str().unwrap();
        let input = suite::input(&row);
        if row["prometheus_accepts"] == true {
            let golden = row["prometheus_entries"].as_array().unwrap();
            entries::assert_golden(id, Format::OpenMetrics, &options, &input, golden);
        } else {
            let found = entries::of(Format::OpenMetrics, &options, &input);
            assert!(found.is_err(), "{id}: {found:?}");
        }
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn whole_bodies_give_the_entries_of_prometheus() {
    let directory = fs::read_dir(suite::path("textparse")).unwrap();
    let names = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut compared = 0;
    for name in names.filter(|name| name.ends_with(".entries.jsonl")) {
        let stem = name.trim_end_matches(".entries.jsonl");
        let body = stem.trim_end_matches(".skip_created");
        let format = if body.ends_with(".om.txt") {
            Format::OpenMetrics
        } else {
            Format::Text
        };
        let start_timestamps = stem != body;
        let options = ParserOptions {
            start_timestamps,
            ..ParserOptions::default()
        };
        let golden = suite::rows(&format!("textparse/{name}"));
        let body = fs::read(suite::path("textparse").join(body)).unwrap();
        entries::assert_golden(&name, format, &options, &body, &golden);
        compared += 1;
    }
    assert!(compared >= 4, "{compared} golden files");
}
