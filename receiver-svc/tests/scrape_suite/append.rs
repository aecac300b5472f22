//! Appending a body: what Prometheus' scrape loop gave to its storage.
//!
//! The rows of one loop are scrapes of one target in a row. Its storage is a
//! stand-in that refuses what the row says and nothing else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use receiver_svc::{
    exposition::{Counts as HistogramCounts, Exemplar, Histogram, Span},
    scrape::{
        Accepted, Appended, Cache, HistogramError, Refusal, SampleValue, SampleView, Scrape,
        Storage,
    },
};
use serde_json::{Value, json};

use crate::{options, suite};

/// Why a row is not compared.
fn listed(row: &Value) -> Option<&'static str> {
    // One of the closures changes nothing.
    let changes_nothing = row["test"] == "testScrapeLoopAppendExemplarSeries";
    if row["custom_mutator"] == true && !changes_nothing {
        return Some("a Go closure that is not data changes the labels or a limit");
    }
    if row["options"]["synthesize_st"] == true {
        return Some(
            "start times made up from counter resets, and values changed to fit: an experiment \
             behind a feature flag of Prometheus that is off by default",
        );
    }
    if row["test"] == "testScrapeLoopFailWithInvalidLabelsAfterRelabel" {
        return Some("labels that are not UTF-8, which no label set here can hold");
    }
    None
}

/// Refuses samples as a row tells, one answer for each.
struct Scripted(RefCell<VecDeque<Option<Refusal>>>);

impl Storage for Scripted {
    fn judge(
        &self,
        _: Option<(i64, &SampleValue)>,
        _: i64,
        _: &SampleValue,
    ) -> Result<Accepted, Refusal> {
        match self.0.borrow_mut().pop_front().flatten() {
            Some(refusal) => Err(refusal),
            None => Ok(Accepted::New),
        }
    }

    fn check(&self, _: &Histogram) -> Result<(), HistogramError> {
        Ok(())
    }
}

impl Scripted {
    fn of(row: &Value) -> Self {
        let events = row["events"].as_array().into_iter().flatten();
        let events = events.filter(|event| event["op"].as_str().unwrap().starts_with("append"));
        let answers = events.map(|event| match event["append_error"].as_str() {
            Some("out of order sample") => Some(Refusal::OutOfOrder),
            Some("duplicate sample for timestamp") => Some(Refusal::Duplicate),
            Some("out of bounds") => Some(Refusal::OutOfBounds),
            _ => None,
        });
        let mut answers: VecDeque<_> = answers.collect();
        if row["test"] == "testScrapeLoopOutOfBoundsTimeError" {
            // Refused before the storage, as 20 minutes ahead of the clock.
            answers.push_back(Some(Refusal::OutOfBounds));
        }
        Self(RefCell::new(answers))
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn created_lines_as_series() {
    assert_eq!(compare("scrape/append_v1.jsonl"), (145, 7));
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn created_lines_as_start_times() {
    assert_eq!(compare("scrape/append_v2.jsonl"), (167, 29));
}

/// Compares all rows of a file: how many there are, and how many are listed. A
/// listed loop without a difference fails too.
fn compare(file: &str) -> (usize, usize) {
    let rows = suite::rows(file);
    let mut caches: BTreeMap<u64, Cache> = BTreeMap::new();
    let mut listed: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
    for row in &rows {
        let in_loop = row["loop"].as_u64().unwrap();
        let outcome = run(row, caches.entry(in_loop).or_default());
        match self::listed(row) {
            Some(_) => listed.entry(in_loop).or_default().push(outcome.is_err()),
            None => assert_eq!(outcome, Ok(()), "{file} loop {in_loop} seq {}", row["seq"]),
        }
    }
    for (in_loop, differs) in &listed {
        assert!(
            differs.contains(&true),
            "{file} loop {in_loop} is listed and agrees"
        );
    }
    (rows.len(), listed.values().map(Vec::len).sum())
}

fn run(row: &Value, cache: &mut Cache) -> Result<(), String> {
    let options = options::of(row);
    let target = options::target_labels(row);
    let time_ms = row["scrape_time_ms"].as_i64().unwrap();
    let content_type = row["content_type"].as_str();
    let mut scrape = Scrape::begin(cache, &options, &target, Scripted::of(row), time_ms);
    let outcome = scrape.append(content_type, &suite::body(row));
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
        // As the Go code of these tests does; others have a row for it.
        let ends_iteration = [
            "testScrapeLoopDiscardDuplicateLabels",
            "testScrapeLoopAppendSampleLimitWithDisappearingSeries",
        ];
        if ends_iteration.contains(&row["test"].as_str().unwrap()) {
            scrape.append_nothing();
        }
        return same_error(&found.to_string(), expected);
    }
    let appended = scrape.commit();
    let v2 = row["appender"] == "v2";
    let (found, expected) = (found(&appended, v2), expected(row));
    // Staleness markers come in no particular order.
    let sorted = |mut events: Vec<Value>| {
        let first = events.iter().position(is_marker).unwrap_or(events.len());
        events[first..].sort_by_key(Value::to_string);
        events
    };
    same("samples", &sorted(found).into(), &sorted(expected).into())?;
    same_metadata(&appended, row)
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}\nfound    {found}\nexpected {expected}")),
    }
}

/// Errors begin as those of Prometheus where they are about limits and labels.
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
    match found.starts_with(start) {
        true => Ok(()),
        false => Err(format!("error {found:?}, expected {start:?}")),
    }
}

fn is_marker(event: &Value) -> bool {
    event["value"] == json!(receiver_svc::scrape::STALE_NAN.to_bits())
}

fn found(appended: &Appended<'_>, v2: bool) -> Vec<Value> {
    appended
        .samples()
        .map(|sample| event(&sample, v2))
        .collect()
}

fn event(sample: &SampleView<'_>, v2: bool) -> Value {
    let mut event = json!({
        "labels": sample.labels(),
        "t": sample.time_ms(),
        "exemplars": sample.exemplars.iter().map(exemplar).collect::<Vec<_>>(),
    });
    if v2 {
        event["st"] = json!(sample.start_ms());
    }
    match sample.value() {
        SampleValue::Histogram(value) => event["histogram"] = histogram(value),
        value => event["value"] = json!(value.as_float().unwrap().to_bits()),
    }
    event
}

fn exemplar(exemplar: &Exemplar) -> Value {
    json!({
        "labels": exemplar.labels,
        "value": exemplar.value.to_bits(),
        "timestamp_ms": exemplar.timestamp,
    })
}

fn histogram(histogram: &Histogram) -> Value {
    let spans = |spans: &[Span]| -> Vec<_> {
        spans
            .iter()
            .map(|span| (span.offset, span.length))
            .collect()
    };
    let bits = |values: &[f64]| -> Vec<_> { values.iter().map(|v| v.to_bits()).collect() };
    let mut row = json!({
        "schema": histogram.schema,
        "sum": histogram.sum.to_bits(),
        "zero_threshold": histogram.zero_threshold.to_bits(),
        "custom_values": bits(&histogram.custom_values),
        "positive_spans": spans(&histogram.positive_spans),
        "negative_spans": spans(&histogram.negative_spans),
        "counter_reset_hint": if histogram.gauge { "gauge" } else { "unknown" },
    });
    match &histogram.counts {
        HistogramCounts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        } => {
            row["kind"] = json!("int");
            row["count"] = json!(count);
            row["zero_count"] = json!(zero_count);
            row["positive_deltas"] = json!(positive_deltas);
            row["negative_deltas"] = json!(negative_deltas);
        }
        HistogramCounts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            row["kind"] = json!("float");
            row["count"] = json!(count.to_bits());
            row["zero_count"] = json!(zero_count.to_bits());
            row["positive_counts"] = json!(bits(positive));
            row["negative_counts"] = json!(bits(negative));
        }
    }
    row
}

/// The samples of a row that were not refused, in the form of [`event`].
fn expected(row: &Value) -> Vec<Value> {
    let v2 = row["appender"] == "v2";
    let mut samples: Vec<Value> = Vec::new();
    for event in row["events"].as_array().into_iter().flatten() {
        if !event["append_error"].is_null() {
            continue;
        }
        match event["op"].as_str().unwrap() {
            "append" | "append_histogram" => samples.push(expected_sample(event, v2)),
            "exemplar" => {
                let last = samples.last_mut().unwrap();
                let exemplars = event["exemplar"].as_array().unwrap().iter();
                let exemplars: Vec<_> = exemplars
                    .map(|exemplar| expected_exemplar(exemplar, &last["t"]))
                    .collect();
                last["exemplars"].as_array_mut().unwrap().extend(exemplars);
            }
            "metadata" => {}
            other => panic!("event {other}"),
        }
    }
    samples
}

fn expected_sample(event: &Value, v2: bool) -> Value {
    let exemplars = event["exemplars"].as_array().into_iter().flatten();
    let mut sample = json!({
        "labels": event["labels"],
        "t": event["t"],
        "exemplars": exemplars
            .map(|exemplar| expected_exemplar(exemplar, &event["t"]))
            .collect::<Vec<_>>(),
    });
    if v2 {
        sample["st"] = event["st"].clone();
    }
    if event["histogram"].is_null() {
        sample["value"] = json!(suite::bits(&event["value"]));
    } else {
        sample["histogram"] = expected_histogram(&event["histogram"]);
    }
    sample
}

/// An exemplar without a time has the sample's.
fn expected_exemplar(exemplar: &Value, time: &Value) -> Value {
    let own = Some(&exemplar["timestamp_ms"]).filter(|time| !time.is_null());
    json!({
        "labels": exemplar["labels"],
        "value": suite::bits(&exemplar["value"]),
        "timestamp_ms": own.unwrap_or(time),
    })
}

fn expected_histogram(histogram: &Value) -> Value {
    let fields = histogram.as_object().unwrap().iter();
    let fields = fields.map(|(key, value)| {
        let value = match (key.as_str(), value) {
            ("sum" | "zero_threshold" | "count" | "zero_count", Value::String(_)) => {
                json!(suite::bits(value))
            }
            ("custom_values" | "positive_counts" | "negative_counts", Value::Array(items)) => {
                items.iter().map(suite::bits).collect()
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(fields.collect())
}

/// Compares what is said of families. v2 says it with every sample, v1 with the
/// first of a series and after changes.
fn same_metadata(appended: &Appended<'_>, row: &Value) -> Result<(), String> {
    if row["options"]["append_metadata"] != true {
        return Ok(());
    }
    let mut expected = BTreeSet::new();
    for event in row["events"].as_array().into_iter().flatten() {
        if !event["metadata"].is_null() {
            let family = &event["metric_family"];
            expected.insert(json!([event["labels"], event["metadata"], family]).to_string());
        }
    }
    let v2 = row["appender"] == "v2";
    let mut found = BTreeSet::new();
    for sample in appended.samples() {
        if let Some(metadata) = sample.metadata() {
            let said = json!({
                "type": metadata.metric_type.as_str(),
                "help": metadata.help,
                "unit": metadata.unit,
            });
            let family = if v2 {
                json!(metadata.family)
            } else {
                Value::Null
            };
            found.insert(json!([sample.labels(), said, family]).to_string());
        }
    }
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    match missing.is_empty() && (more.is_empty() || !v2) {
        true => Ok(()),
        false => Err(format!(
            "metadata: missing {missing:?}, not expected {more:?}"
        )),
    }
}
