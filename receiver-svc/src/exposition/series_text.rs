//! Parses the name and labels of a sample in the text formats.

use std::{borrow::Cow, iter};

use memchr::memchr;
use mesh_model::labels::{BUCKET, METRIC_NAME, QUANTILE};

use super::{
    MetricType, ParseError,
    cursor::Cursor,
    float,
    label_block::{self, Dialect, Item},
    metadata::FamilyMetadata,
};

/// Reads the name and the labels of a sample. Returns the name, still escaped.
///
/// The text that the cursor passes over identifies the series. A name in quotes may be empty,
/// as metric relabeling may set another one.
pub(super) fn read<'a, D: Dialect>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    let before = name_before_braces::<D>(cursor);
    let mut name = (!before.is_empty()).then_some(before);
    if eat_brace::<D>(cursor) {
        while let Some(item) = label_block::next_item::<D>(cursor)? {
            match item {
                Item::MetricName(second) if name.is_some() => {
                    return Err(cursor.unexpected(second, "one metric name only"));
                }
                Item::MetricName(found) => name = Some(found),
                Item::Label(..) => {}
            }
        }
    }
    name.ok_or_else(|| cursor.error("expected a metric name, found none".to_owned()))
}

/// Returns the name before the braces of a series whose text was validated before, or `None`
/// if the name is between them.
pub(super) fn bare_name(raw: &[u8]) -> Option<&[u8]> {
    let name = Cursor::over_validated(raw).take_metric_name();
    (!name.is_empty()).then_some(name)
}

/// Adds the labels of a series whose text was validated before.
pub(super) fn labels<D: Dialect>(
    raw: &[u8],
    metadata: &FamilyMetadata<'_>,
    out: &mut Vec<(String, String)>,
) {
    let name_at = out.len();
    let name = unescape(name_before_braces::<D>(&mut Cursor::over_validated(raw)));
    out.push((METRIC_NAME.to_owned(), name.into_owned()));
    metadata.push_labels(out);
    for item in items::<D>(raw) {
        match item {
            Item::MetricName(name) => out[name_at].1 = unescape(name).into_owned(),
            Item::Label(name, value) => {
                let name = unescape(name);
                if !metadata.overrides(&name) {
                    let value = canonical(metadata.metric_type, &name, unescape(value));
                    out.push((name.into_owned(), value.into_owned()));
                }
            }
        }
    }
}

/// Items between the braces of a series whose text was validated before.
pub(super) fn items<'a, D: Dialect>(raw: &'a [u8]) -> impl Iterator<Item = Item<'a>> {
    let mut cursor = Cursor::over_validated(raw);
    name_before_braces::<D>(&mut cursor);
    let braces = eat_brace::<D>(&mut cursor);
    iter::from_fn(move || {
        if braces {
            label_block::next_item::<D>(&mut cursor).ok()?
        } else {
            None
        }
    })
}

/// Reads the family name of a metadata line, still escaped.
///
/// Accepts an empty name in quotes, like Prometheus.
pub(super) fn family_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    if cursor.peek() == Some(b'"') {
        return label_block::quoted_name(cursor, true);
    }
    match cursor.take_metric_name() {
        [] => Err(cursor.expected("a metric name")),
        name => Ok(name),
    }
}

/// Reads the name before the braces. Returns an empty name if none follows.
///
/// In the Prometheus text formats, blanks before a name are part of the name.
fn name_before_braces<'a, D: Dialect>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let start = cursor.at();
    if D::WHITESPACE {
        cursor.skip_whitespace();
    }
    match cursor.take_metric_name() {
        [] => &[],
        _ => cursor.since(start),
    }
}

/// Reads the brace that opens the labels. Reads nothing if there are no labels.
fn eat_brace<D: Dialect>(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    if D::WHITESPACE {
        ahead.skip_whitespace();
    }
    let found = ahead.eat(b'{');
    if found {
        *cursor = ahead;
    }
    found
}

/// Converts bucket bounds and quantiles to the canonical form of Prometheus 3.
///
/// Leaves other labels unchanged, and values that Go's `strconv.ParseFloat` refuses.
fn canonical<'a>(metric_type: MetricType, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    let is_number = match metric_type {
        MetricType::Summary => name == QUANTILE,
        MetricType::Histogram => name == BUCKET,
        _ => false,
    };
    if !is_number {
        return value;
    }
    match float::label_value(value.as_bytes()) {
        Some(number) => mesh_wire::float::openmetrics(number).into(),
        None => value,
    }
}

/// Unescapes `\\`, `\"` and `\n`. Leaves any other backslash unchanged.
pub(super) fn unescape(text: &[u8]) -> Cow<'_, str> {
    unescape_with(text, true)
}

/// Unescapes `\\` and `\n` only, as in help texts of the Prometheus text format.
pub(super) fn unescape_help(text: &[u8]) -> Cow<'_, str> {
    unescape_with(text, false)
}

fn unescape_with(text: &[u8], quotes: bool) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(text);
    if memchr(b'\\', text.as_bytes()).is_none() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let resolved = match (char, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) if quotes => Some('"'),
            _ => None,
        };
        if resolved.is_some() {
            chars.next();
        }
        out.push(resolved.unwrap_or(char));
    }
    out.into()
}
