//! Appending of a body: samples that Prometheus's scrape loop gives to its storage.
//!
//! The rows of one loop are consecutive scrapes of one target. The storage is a stand-in
//! that rejects what the row says, and nothing else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    path::Path,
};

use receiver_svc::{
    exposition::Histogram,
    scrape::{Accepted, Cache, HistogramError, Rejection, STALE_NAN, SampleValue, Scrape, Storage},
};
use serde_json::{Value, json};

use super::{Report, cases};

mod forms;
mod metadata;
mod options;

/// Reason why a row may differ.
fn exemption(row: &Value) -> Option<&'static str> {
    // This closure has no effect.
    let changes_nothing = row["test"] == "testScrapeLoopAppendExemplarSeries";
    if row["custom_mutator"] == true && !changes_nothing {
        return Some(
            "a Go closure, which the data does not contain, changes the labels or a limit",
        );
    }
    if row["options"]["synthesize_st"] == true {
        return Some(
            "start times are derived from counter resets, and values are changed: an experiment \
             behind a feature flag of Prometheus that is off by default",
        );
    }
    if row["test"] == "testScrapeLoopFailWithInvalidLabelsAfterRelabel" {
        return Some("labels are not UTF-8; a label set holds UTF-8 only");
    }
    None
}

/// Storage that rejects the samples that a row says. It has one answer per sample.
struct Scripted(RefCell<VecDeque<Option<Rejection>>>);

impl Storage for Scripted {
    fn accept(
        &self,
        _: Option<(i64, &SampleValue)>,
        _: i64,
        _: &SampleValue,
    ) -> Result<Accepted, Rejection> {
        match self.0.borrow_mut().pop_front().flatten() {
            Some(rejection) => Err(rejection),
            None => Ok(Accepted::New),
        }
    }

    fn check_histogram(&self, _: &Histogram) -> Result<(), HistogramError> {
        Ok(())
    }
}

impl Scripted {
    fn of(row: &Value) -> Self {
        let events = cases::list(&row["events"]).iter();
        let events = events.filter(|event| cases::text(&event["op"]).starts_with("append"));
        let answers = events.map(|event| match event["append_error"].as_str() {
            Some("out of order sample") => Some(Rejection::OutOfOrder),
            Some("duplicate sample for timestamp") => Some(Rejection::Duplicate),
            Some("out of bounds") => Some(Rejection::OutOfBounds),
            _ => None,
        });
        let mut answers: VecDeque<_> = answers.collect();
        if row["test"] == "testScrapeLoopOutOfBoundsTimeError" {
            // The sample is 20 minutes ahead of the clock. It is rejected before the
            // storage.
            answers.push_back(Some(Rejection::OutOfBounds));
        }
        Self(RefCell::new(answers))
    }
}

/// Cases in which `_created` lines are series.
pub(super) fn v1(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    run(&suites.join("scrape/append_v1.jsonl"), report)
}

/// Cases in which `_created` lines are start times.
pub(super) fn v2(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    run(&suites.join("scrape/append_v2.jsonl"), report)
}

fn run(file: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut caches: BTreeMap<u64, Cache> = BTreeMap::new();
    let mut exempt_loops: BTreeMap<u64, usize> = BTreeMap::new();
    for row in cases::rows(file)? {
        let in_loop = row["loop"].as_u64().unwrap_or_default();
        let cache = caches.entry(in_loop).or_default();
        let test = cases::text(&row["test"]);
        let id = format!("{test} loop {in_loop} seq {}", row["seq"]);
        match exemption(&row) {
            None => report.case(id, || compare(&row, cache)),
            Some(reason) => {
                let before = report.exempted.len();
                report.case_of_exempt_group(id, reason, || compare(&row, cache));
                *exempt_loops.entry(in_loop).or_default() += report.exempted.len() - before;
            }
        }
    }
    // An exempt loop differs in some of its rows.
    for (in_loop, _) in exempt_loops
        .iter()
        .filter(|(_, differing)| **differing == 0)
    {
        let why = "passes, but is exempt".to_owned();
        report.failed.push((format!("loop {in_loop}"), why));
    }
    Ok(())
}

fn compare(row: &Value, cache: &mut Cache) -> Result<(), String> {
    let options = options::of(row)?;
    let target = cases::labels(&row["target_labels"]);
    let time_ms = row["scrape_time_ms"].as_i64().unwrap_or_default();
    let content_type = row["content_type"].as_str();
    let mut scrape = Scrape::begin(cache, &options, &target, Scripted::of(row), time_ms);
    let outcome = scrape.append(content_type, &cases::body(&row["body"]));
    let counts = scrape.counts();
    let counts = json!([counts.scraped, counts.added, counts.series_added]);
    same(
        "counts",
        &counts,
        &json!([row["total"], row["added"], row["series_added"]]),
    )?;
    same(
        "failed",
        &json!(outcome.is_err()),
        &json!(!row["error"].is_null()),
    )?;
    if let (Err(found), Some(expected)) = (&outcome, row["error"].as_str()) {
        // The Go code of these tests ends the iteration. Other tests have a row for it.
        let ends_iteration = [
            "testScrapeLoopDiscardDuplicateLabels",
            "testScrapeLoopAppendSampleLimitWithDisappearingSeries",
        ];
        if ends_iteration.contains(&cases::text(&row["test"])) {
            scrape.append_nothing();
        }
        return same_error(&found.to_string(), expected);
    }
    let appended = scrape.commit();
    let v2 = row["appender"] == "v2";
    let found = appended.samples().map(|sample| forms::event(&sample, v2));
    let (found, expected) = (found.collect(), forms::expected(row));
    // The order of staleness markers is not defined.
    let sorted = |mut events: Vec<Value>| {
        let first = events.iter().position(is_marker).unwrap_or(events.len());
        events[first..].sort_by_key(Value::to_string);
        events
    };
    same("samples", &sorted(found).into(), &sorted(expected).into())?;
    metadata::same(&appended, row)
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}\nfound    {found}\nexpected {expected}"))
    }
}

/// Compares errors. Those of limits and labels begin as Prometheus's own.
fn same_error(found: &str, expected: &str) -> Result<(), String> {
    let ours: &[(&str, &str)] = &[
        (
            "non-compliant scrape target sending blank",
            "the target sent no Content-Type",
        ),
        ("expected a valid start token", "line 1: "),
        ("data does not end with # EOF", "line 2: "),
        (
            "label name \"le\" is not unique",
            "label name \"le\" is not unique",
        ),
        ("missing metric name", "missing metric name"),
        ("sample limit exceeded", "sample limit exceeded"),
        (
            "histogram bucket limit exceeded",
            "histogram bucket limit exceeded",
        ),
        (
            "invalid metric name or label names",
            "invalid metric name or label names",
        ),
    ];
    let start = ours
        .iter()
        .find(|(theirs, _)| expected.starts_with(theirs))
        .map_or(expected, |(_, ours)| ours);
    if found.starts_with(start) {
        Ok(())
    } else {
        Err(format!("error {found:?}, expected {start:?}"))
    }
}

fn is_marker(event: &Value) -> bool {
    event["value"] == json!(STALE_NAN.to_bits())
}
