//! Estimates how many samples of each part a backend rejected.
//!
//! Responses of remote write 1.0 have no counts. Cortex and AMP store the valid samples
//! and name the first invalid series, or its metric. The estimate depends on what the
//! message names:
//!
//! - Nothing: all samples of the request.
//! - A metric: the samples of this metric.
//! - A series, for a reason in its labels or because it is new: this series.
//! - A series, for a reason in the timestamp: all samples of the same part that the
//!   same rule excludes. If one sample is out of order, so are all samples of its
//!   scrape. Samples of other targets in the part may still be in order.
//!
//! Responses of remote write 2.0 have the number of stored samples, but do not say
//! which.

use std::collections::BTreeMap;

use mesh_contract::{ha::REPLICA, verdict::Reason};
use mesh_model::labels::METRIC_NAME;
use prost::Message;
use proto::v1;

use super::part::RequestPart;

/// Returns the number of rejected samples of each part, in the order of the parts. If
/// the backend gave a `count`, the numbers add up to it.
pub fn rejected_units<'a>(
    parts: impl Iterator<Item = &'a RequestPart> + Clone,
    reason: Reason,
    count: Option<u64>,
    message: &str,
) -> Vec<u64> {
    let estimated = estimate_from_message(parts.clone(), reason, message);
    let Some(count) = count else {
        return estimated;
    };
    // Assigns the count to the samples that were probably rejected, then to the rest in
    // order.
    let mut remaining = count;
    let mut take = |at_most: u64| {
        let taken = at_most.min(remaining);
        remaining -= taken;
        taken
    };
    let probable: Vec<_> = estimated.into_iter().map(&mut take).collect();
    let rest = parts.zip(probable);
    rest.map(|(part, units)| units + take(part.units.saturating_sub(units)))
        .collect()
}

/// Estimates the rejected samples of each part from the backend's message.
fn estimate_from_message<'a>(
    parts: impl Iterator<Item = &'a RequestPart> + Clone,
    reason: Reason,
    message: &str,
) -> Vec<u64> {
    let Some(named) = named_series(message) else {
        let counts: Vec<_> = match named_metric(message) {
            Some(name) => parts
                .clone()
                .map(|part| count_metric_series(part, name))
                .collect(),
            None => Vec::new(),
        };
        return if counts.iter().any(|count| *count > 0) {
            counts
        } else {
            parts.map(|part| part.units).collect()
        };
    };
    let mut found = false;
    let counts: Vec<_> = parts
        .clone()
        .map(|part| {
            // A series is in at most one part of a request.
            let position = if found {
                None
            } else {
                find_series(part, &named)
            };
            found |= position.is_some();
            position.map_or(0, |position| affected_samples(part, reason, position))
        })
        .collect();
    if found {
        return counts;
    }
    parts.map(|part| part.units).collect()
}

/// Counts the series of a metric in `part`.
fn count_metric_series(part: &RequestPart, name: &str) -> u64 {
    let is_named = |encoded: &[u8]| {
        let series = v1::TimeSeries::decode(encoded).unwrap_or_default();
        series
            .labels
            .iter()
            .any(|label| label.name == METRIC_NAME && label.value == name)
    };
    let count = part
        .series()
        .filter(|(encoded, _)| is_named(encoded))
        .count();
    (count as u64).min(part.units)
}

/// Resource and timestamp of a sample.
#[derive(Clone, Copy, Debug)]
struct SamplePosition {
    resource: u32,
    time: i64,
}

/// Counts the samples of `part` that are rejected if the one at this position is.
fn affected_samples(
    part: &RequestPart,
    reason: Reason,
    SamplePosition { resource, time }: SamplePosition,
) -> u64 {
    let is_affected = |sample: i64| match reason {
        Reason::OutOfOrder | Reason::TooOld => sample <= time,
        Reason::NewValueForTimestamp => sample == time,
        Reason::TooFarInFuture => sample >= time,
        _ => false,
    };
    let one_resource = matches!(reason, Reason::OutOfOrder | Reason::NewValueForTimestamp);
    let series = part.series();
    let candidates = series.filter(|(_, meta)| !one_resource || meta.resource == resource);
    let times = candidates.filter_map(|(encoded, _)| read_time(encoded));
    let count = times.filter(|sample| is_affected(*sample)).count() as u64;
    // Series that the sender does not count, such as target_info, do not count here.
    count.clamp(1, part.units.max(1))
}

/// Finds the sample of the named series in `part`.
fn find_series(part: &RequestPart, named: &BTreeMap<String, String>) -> Option<SamplePosition> {
    part.series().find_map(|(encoded, meta)| {
        let series = v1::TimeSeries::decode(encoded).ok()?;
        // The backend removes the replica label before it validates.
        let labels = series.labels.iter().filter(|label| label.name != REPLICA);
        let same = labels.clone().count() == named.len()
            && labels
                .into_iter()
                .all(|l| named.get(&l.name) == Some(&l.value));
        let time = if same { time(&series) } else { None };
        time.map(|time| SamplePosition {
            resource: meta.resource,
            time,
        })
    })
}

fn read_time(encoded: &[u8]) -> Option<i64> {
    time(&v1::TimeSeries::decode(encoded).ok()?)
}

fn time(series: &v1::TimeSeries) -> Option<i64> {
    let sample = series.samples.first().map(|sample| sample.timestamp);
    sample.or_else(|| {
        series
            .histograms
            .first()
            .map(|histogram| histogram.timestamp)
    })
}

/// Text before the series, for messages that have other braces before it, such as the
/// label set of a limit.
const BEFORE_SERIES: [&str; 3] = ["series=", "for series ", "series: "];

/// Parses the series that a message names, as `{__name__="m", a="b"}` or `m{a="b"}`.
fn named_series(message: &str) -> Option<BTreeMap<String, String>> {
    let before = BEFORE_SERIES.iter().find_map(|word| message.find(word));
    let from = before.unwrap_or(0);
    let open = from + message[from..].find('{')?;
    let mut labels = BTreeMap::new();
    let before = &message[..open];
    let name = &before[before.trim_end_matches(is_name_char).len()..];
    if !name.is_empty() {
        labels.insert(METRIC_NAME.to_owned(), name.to_owned());
    }
    let mut rest = &message[open + 1..];
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if rest.starts_with('}') {
            return (!labels.is_empty()).then_some(labels);
        }
        let (name, value) = rest.split_once('=')?;
        let (value, after) = quoted(value)?;
        labels.insert(name.trim_matches('"').to_owned(), value);
        rest = after;
    }
}

/// Parses the metric that a message names: `for metric m`, `metric: "m"`, `series:
/// 'm'`, `invalid metric name: "m"`.
fn named_metric(message: &str) -> Option<&str> {
    let after = ["metric name: ", "metric: ", "metric ", "series: "]
        .iter()
        .find_map(|word| Some(message.split_once(word)?.1))?;
    let name = after.trim_start_matches(['"', '\'', '\\']);
    // A quoted name may have any characters; its labels follow within the quotes.
    let is_quoted = name.len() < after.len();
    let ends = |c: char| {
        if is_quoted {
            matches!(c, '"' | '\'' | '\\' | '{')
        } else {
            !is_name_char(c)
        }
    };
    let end = name.find(ends).unwrap_or(name.len());
    Some(&name[..end]).filter(|name| !name.is_empty())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Parses a quoted string at the start of `text` and returns the rest. Accepts quotes
/// that were escaped once more.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (quote, inner) = match text.strip_prefix("\\\"") {
        Some(inner) => ("\\\"", inner),
        None => ("\"", text.strip_prefix('"')?),
    };
    let mut value = String::new();
    let mut rest = inner;
    loop {
        if let Some(after) = rest.strip_prefix(quote) {
            return Some((value, after));
        }
        let mut chars = rest.chars();
        match chars.next()? {
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        remote_write::part::{EncodedLabels, RequestLimits},
        translate::sink::{Capabilities, NativeHistograms, Sink, Times},
    };

    /// Part with series named `m` and a label `i`, one per timestamp.
    fn part(times: &[i64], first: usize) -> RequestPart {
        of_resources(&[times], first)
    }

    /// Part with the series of several resources.
    fn of_resources(resources: &[&[i64]], first: usize) -> RequestPart {
        let limits = RequestLimits {
            series: 100,
            bytes: 1 << 20,
        };
        let native_histograms = NativeHistograms::None;
        let capabilities = Capabilities {
            native_histograms,
            inconsistent_histograms: false,
            exemplars: false,
            families: false,
            limits,
            max_age: None,
        };
        let mut sink = Sink::new(capabilities);
        let resources = resources.iter().enumerate();
        let times = resources.flat_map(|(r, times)| times.iter().map(move |time| (r, *time)));
        let mut begun = None;
        for (i, (resource, time_ms)) in times.enumerate() {
            if begun.replace(resource) != Some(resource) {
                sink.begin_resource();
            }
            let i = (first + i).to_string();
            let labels = [("__name__", "m"), ("__replica__", "a"), ("i", i.as_str())];
            let times = Times {
                time_ms,
                start_ms: 0,
            };
            sink.float(
                EncodedLabels::new(labels.into_iter()).as_ref(),
                times,
                1.0,
                &[],
                true,
            );
        }
        sink.finish().0.unwrap().parts.remove(0)
    }

    #[test]
    fn a_message_without_a_series_rejects_the_whole_request() {
        let parts = [part(&[1, 1], 0), part(&[1], 5)];
        let counts = rejected_units(
            parts.iter(),
            Reason::OutOfOrder,
            None,
            "out of order sample",
        );
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_label_error_rejects_the_named_series() {
        let parts = [part(&[1, 1], 0), part(&[1, 1], 5)];
        let message = "series has too many labels (actual: 40, limit: 30) series: 'm{i=\"6\"}'";
        assert_eq!(
            rejected_units(parts.iter(), Reason::LabelLimit, None, message),
            [0, 1]
        );
        let message = "err: per-user series limit, series={__name__=\\\"m\\\", i=\\\"0\\\"}";
        assert_eq!(
            rejected_units(parts.iter(), Reason::SeriesLimit, None, message),
            [1, 0]
        );
    }

    #[test]
    fn a_timestamp_error_rejects_all_affected_samples() {
        let parts = [part(&[7], 9), part(&[5, 9, 9, 12], 0)];
        let message = "user=x: err: sample, series={__name__=\"m\", i=\"1\"}";
        let counts = |reason| rejected_units(parts.iter(), reason, None, message);
        assert_eq!(counts(Reason::OutOfOrder), [0, 3]);
        assert_eq!(counts(Reason::NewValueForTimestamp), [0, 2]);
        assert_eq!(counts(Reason::TooFarInFuture), [0, 3]);
    }

    #[test]
    fn a_timestamp_error_does_not_reject_other_targets() {
        let parts = [of_resources(&[&[5, 5], &[7, 7], &[6]], 0)];
        let message = "err: sample, series={__name__=\"m\", i=\"2\"}";
        let counts = |reason| rejected_units(parts.iter(), reason, None, message);
        assert_eq!(counts(Reason::OutOfOrder), [2]);
        // The age limit applies to all targets alike.
        assert_eq!(counts(Reason::TooOld), [5]);
    }

    #[test]
    fn a_message_with_a_metric_rejects_its_series() {
        let parts = [part(&[1, 1], 0), part(&[1], 5)];
        let counts = |message| rejected_units(parts.iter(), Reason::LabelLimit, None, message);
        assert_eq!(counts("label value too long for metric m: label l"), [2, 1]);
        assert_eq!(counts("label name too long for metric: \\\"m\\\""), [2, 1]);
        assert_eq!(counts("series has too many labels (9) series: 'm'"), [2, 1]);
        // Cortex truncates long quotes.
        let cut =
            r#"for metric (actual: 9) metric: "m{i=\"0\", l=\"xxx" label name: "l" value: "xxx""#;
        assert_eq!(counts(cut), [2, 1]);
        assert_eq!(
            named_metric("label value too long for metric other:x."),
            Some("other:x")
        );
        assert_eq!(named_metric("invalid metric: "), None);
        let utf8 = "sample invalid metric name: \"a.b c\"";
        assert_eq!(named_metric(utf8), Some("a.b c"));
        let twice = "too long for metric: \\\"m{a=\\\"b\\\"}\\\"";
        assert_eq!(named_metric(twice), Some("m"));
    }

    #[test]
    fn an_unknown_series_rejects_the_whole_request() {
        let parts = [part(&[1, 1], 0)];
        let message = "out of order sample, series={__name__=\"other\"}";
        assert_eq!(
            rejected_units(parts.iter(), Reason::OutOfOrder, None, message),
            [2]
        );
    }

    #[test]
    fn rejected_units_add_up_to_a_given_count() {
        let parts = [part(&[1, 1], 0), part(&[1, 1], 5)];
        let message = "labels: m{i=\"6\"}";
        let counts = |n| rejected_units(parts.iter(), Reason::LabelLimit, Some(n), message);
        assert_eq!(counts(0), [0, 0]);
        assert_eq!(counts(1), [0, 1]);
        assert_eq!(counts(3), [2, 1]);
        assert_eq!(counts(9), [2, 2]);
    }

    #[test]
    fn parses_named_series() {
        let read = |message| named_series(message).map(|l| format!("{l:?}"));
        let want = Some(r#"{"__name__": "m", "a": "x\"y}", "b": ""}"#.to_owned());
        assert_eq!(read(r#"e: {__name__="m", a="x\"y}", b=""} e"#), want);
        assert_eq!(read(r#"e: m{a="x\"y}",b=""}"#), want);
        let limit =
            r#"limit (labelSet: {x="y"}, limit: 1) for series {__name__="m", a="x\"y}", b=""}"#;
        assert_eq!(read(limit), want);
        let exemplar = r#"series={__name__="m", a="x\"y}", b=""}, exemplar={trace_id="1"}"#;
        assert_eq!(read(exemplar), want);
        assert_eq!(read("no series"), None);
        assert_eq!(read("{}"), None);
        assert_eq!(read("{\"code\": 400}"), None);
        assert_eq!(read("m{a=\"cut"), None);
    }
}
