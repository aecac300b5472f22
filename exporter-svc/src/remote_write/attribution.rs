//! How much of a refused request was refused.
//!
//! Remote write 1.0 has no counts in its answers. Cortex and AMP store what is
//! valid and name the first series that is not, or its metric; Prometheus names
//! none and stores nothing of the request. So a refusal that names nothing is
//! counted for all of the request, one that names a metric for the metric's
//! series. Of one that names a series, a reason that lies in the series (its
//! labels, its being new) is counted for that series; a reason that lies in the
//! time is counted for all samples of the same piece that the same time rules out. A
//! sample that is too late for its series is so with the whole scrape that it is of, but
//! those of other targets beside it may be the newest of theirs. Remote write 2.0 tells
//! how many there are, if not which.

use std::collections::BTreeMap;

use mesh::{ha::REPLICA, labels::METRIC_NAME, verdict::Reason};
use prost::Message;
use proto::v1;

use super::piece::Piece;

/// The units refused of each piece of a request, in the order of the pieces; of
/// `count` in all where the backend said so.
pub fn refused<'a>(
    pieces: impl Iterator<Item = &'a Piece> + Clone,
    reason: Reason,
    count: Option<u64>,
    message: &str,
) -> Vec<u64> {
    let estimated = estimate(pieces.clone(), reason, message);
    let Some(count) = count else {
        return estimated;
    };
    // Those that probably were refused first, then the rest in order.
    let mut left = count;
    let mut take = |at_most: u64| {
        let taken = at_most.min(left);
        left -= taken;
        taken
    };
    let probable: Vec<_> = estimated.into_iter().map(&mut take).collect();
    let rest = pieces.zip(probable);
    rest.map(|(piece, units)| units + take(piece.units.saturating_sub(units)))
        .collect()
}

/// The units refused of each piece, from the backend's words.
fn estimate<'a>(
    pieces: impl Iterator<Item = &'a Piece> + Clone,
    reason: Reason,
    message: &str,
) -> Vec<u64> {
    let Some(named) = named_series(message) else {
        let counts: Vec<_> = match named_metric(message) {
            Some(name) => pieces.clone().map(|piece| of_metric(piece, name)).collect(),
            None => Vec::new(),
        };
        return match counts.iter().any(|count| *count > 0) {
            true => counts,
            false => pieces.map(|piece| piece.units).collect(),
        };
    };
    let mut found = false;
    let counts: Vec<_> = pieces
        .clone()
        .map(|piece| {
            // The same series cannot be in two pieces of a request.
            let place = if found { None } else { place_of(piece, &named) };
            found |= place.is_some();
            place.map_or(0, |place| ruled_out(piece, reason, place))
        })
        .collect();
    if found {
        return counts;
    }
    pieces.map(|piece| piece.units).collect()
}

/// The series of a metric in `piece`.
fn of_metric(piece: &Piece, name: &str) -> u64 {
    let is_named = |encoded: &[u8]| {
        let series = v1::TimeSeries::decode(encoded).unwrap_or_default();
        series
            .labels
            .iter()
            .any(|label| label.name == METRIC_NAME && label.value == name)
    };
    let count = piece
        .series()
        .filter(|(encoded, _)| is_named(encoded))
        .count();
    (count as u64).min(piece.units)
}

/// A sample's resource and time.
#[derive(Clone, Copy, Debug)]
struct Place {
    resource: u32,
    time: i64,
}

/// The samples of `piece` that are refused when the one at this place is.
fn ruled_out(piece: &Piece, reason: Reason, Place { resource, time }: Place) -> u64 {
    let out = |sample: i64| match reason {
        Reason::OutOfOrder | Reason::TooOld => sample <= time,
        Reason::NewValueForTimestamp => sample == time,
        Reason::TooFarInFuture => sample >= time,
        _ => false,
    };
    let of_series = matches!(reason, Reason::OutOfOrder | Reason::NewValueForTimestamp);
    let series = piece.series();
    let ruled = series.filter(|(_, mark)| !of_series || mark.resource == resource);
    let times = ruled.filter_map(|(encoded, _)| read_time(encoded));
    let count = times.filter(|sample| out(*sample)).count() as u64;
    // Series that are no units of their own, such as target_info, do not count.
    count.clamp(1, piece.units.max(1))
}

/// The sample of a series, where the piece has it.
fn place_of(piece: &Piece, named: &BTreeMap<String, String>) -> Option<Place> {
    piece.series().find_map(|(encoded, mark)| {
        let series = v1::TimeSeries::decode(encoded).ok()?;
        // The backend drops the replica before it looks further.
        let labels = series.labels.iter().filter(|label| label.name != REPLICA);
        let same = labels.clone().count() == named.len()
            && labels
                .into_iter()
                .all(|l| named.get(&l.name) == Some(&l.value));
        let time = if same { time(&series) } else { None };
        time.map(|time| Place {
            resource: mark.resource,
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

/// What comes before the series, where a message has other braces before it: those of
/// a set of labels that has a limit.
const BEFORE_SERIES: [&str; 3] = ["series=", "for series ", "series: "];

/// The series a message names, as `{__name__="m", a="b"}` or `m{a="b"}`.
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

/// The metric a message names: `for metric m`, `metric: "m"`, `series: 'm'`,
/// `invalid metric name: "m"`.
fn named_metric(message: &str) -> Option<&str> {
    let after = ["metric name: ", "metric: ", "metric ", "series: "]
        .iter()
        .find_map(|word| Some(message.split_once(word)?.1))?;
    let name = after.trim_start_matches(['"', '\'', '\\']);
    // In quotes a name may be of any characters; its labels follow within them.
    let is_quoted = name.len() < after.len();
    let ends = |c: char| match is_quoted {
        true => matches!(c, '"' | '\'' | '\\' | '{'),
        false => !is_name_char(c),
    };
    let end = name.find(ends).unwrap_or(name.len());
    Some(&name[..end]).filter(|name| !name.is_empty())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// A quoted string at the start of `text`, and what follows it. Quotes that were
/// escaped once more on the way are taken as well.
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
        remote_write::piece::{Rendered, RequestLimits},
        translate::sink::{NativeHistograms, Sink, Times, Wants},
    };

    /// A piece of series named `m` with a label `i`, one for each time.
    fn piece(times: &[i64], first: usize) -> Piece {
        of_resources(&[times], first)
    }

    /// Those of several resources.
    fn of_resources(resources: &[&[i64]], first: usize) -> Piece {
        let limits = RequestLimits {
            series: 100,
            bytes: 1 << 20,
        };
        let native_histograms = NativeHistograms::None;
        let wants = Wants {
            native_histograms,
            exemplars: false,
            families: false,
            limits,
            max_age: None,
        };
        let mut sink = Sink::new(wants);
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
                Rendered::new(labels.into_iter()).as_ref(),
                times,
                1.0,
                &[],
                true,
            );
        }
        sink.finish().pieces.remove(0)
    }

    #[test]
    fn a_refusal_that_names_no_series_is_of_the_whole_request() {
        let pieces = [piece(&[1, 1], 0), piece(&[1], 5)];
        let counts = refused(
            pieces.iter(),
            Reason::OutOfOrder,
            None,
            "out of order sample",
        );
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_reason_in_the_series_is_of_that_series() {
        let pieces = [piece(&[1, 1], 0), piece(&[1, 1], 5)];
        let message = "series has too many labels (actual: 40, limit: 30) series: 'm{i=\"6\"}'";
        assert_eq!(
            refused(pieces.iter(), Reason::LabelLimit, None, message),
            [0, 1]
        );
        let message = "err: per-user series limit, series={__name__=\\\"m\\\", i=\\\"0\\\"}";
        assert_eq!(
            refused(pieces.iter(), Reason::SeriesLimit, None, message),
            [1, 0]
        );
    }

    #[test]
    fn a_reason_in_the_time_is_of_all_it_rules_out() {
        let pieces = [piece(&[7], 9), piece(&[5, 9, 9, 12], 0)];
        let message = "user=x: err: sample, series={__name__=\"m\", i=\"1\"}";
        let counts = |reason| refused(pieces.iter(), reason, None, message);
        assert_eq!(counts(Reason::OutOfOrder), [0, 3]);
        assert_eq!(counts(Reason::NewValueForTimestamp), [0, 2]);
        assert_eq!(counts(Reason::TooFarInFuture), [0, 3]);
    }

    #[test]
    fn a_reason_in_the_time_rules_out_nothing_of_another_target() {
        let pieces = [of_resources(&[&[5, 5], &[7, 7], &[6]], 0)];
        let message = "err: sample, series={__name__=\"m\", i=\"2\"}";
        let counts = |reason| refused(pieces.iter(), reason, None, message);
        assert_eq!(counts(Reason::OutOfOrder), [2]);
        // What the backend takes none of is of whichever target.
        assert_eq!(counts(Reason::TooOld), [5]);
    }

    #[test]
    fn a_refusal_that_names_a_metric_is_of_its_series() {
        let pieces = [piece(&[1, 1], 0), piece(&[1], 5)];
        let counts = |message| refused(pieces.iter(), Reason::LabelLimit, None, message);
        assert_eq!(counts("label value too long for metric m: label l"), [2, 1]);
        assert_eq!(counts("label name too long for metric: \\\"m\\\""), [2, 1]);
        assert_eq!(counts("series has too many labels (9) series: 'm'"), [2, 1]);
        // Cortex cuts what it quotes.
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
    fn a_series_that_is_not_there_is_no_excuse() {
        let pieces = [piece(&[1, 1], 0)];
        let message = "out of order sample, series={__name__=\"other\"}";
        assert_eq!(
            refused(pieces.iter(), Reason::OutOfOrder, None, message),
            [2]
        );
    }

    #[test]
    fn a_count_is_the_count() {
        let pieces = [piece(&[1, 1], 0), piece(&[1, 1], 5)];
        let message = "labels: m{i=\"6\"}";
        let counts = |n| refused(pieces.iter(), Reason::LabelLimit, Some(n), message);
        assert_eq!(counts(0), [0, 0]);
        assert_eq!(counts(1), [0, 1]);
        assert_eq!(counts(3), [2, 1]);
        assert_eq!(counts(9), [2, 2]);
    }

    #[test]
    fn named_series_are_read() {
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
