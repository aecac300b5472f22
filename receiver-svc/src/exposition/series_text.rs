//! Name and labels of a sample of the text formats.

use std::{borrow::Cow, iter};

use memchr::memchr;
use mesh::labels::{BUCKET, METRIC_NAME, QUANTILE};

use super::{
    MetricType, ParseError,
    cursor::Cursor,
    float,
    label_block::{self, Dialect, Item},
    metadata::Metadata,
};

/// Reads the name and the labels of a sample and returns the name, still
/// escaped. What the cursor went over is the series' text.
pub(super) fn read<'a, D: Dialect>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    let before = cursor.take_metric_name();
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
    match name {
        Some([]) | None => Err(cursor.error("expected a metric name, found none".to_owned())),
        Some(name) => Ok(name),
    }
}

/// Adds the labels of a series that was read before.
pub(super) fn labels<D: Dialect>(
    raw: &[u8],
    metadata: &Metadata<'_>,
    out: &mut Vec<(String, String)>,
) {
    let name_at = out.len();
    let name = unescape(Cursor::over_series(raw).take_metric_name());
    out.push((METRIC_NAME.to_owned(), name.into_owned()));
    metadata.stamp(out);
    for item in items::<D>(raw) {
        match item {
            Item::MetricName(name) => out[name_at].1 = unescape(name).into_owned(),
            Item::Label(name, value) => {
                let name = unescape(name);
                if !metadata.stamps(&name) {
                    let value = canonical(metadata.metric_type, &name, unescape(value));
                    out.push((name.into_owned(), value.into_owned()));
                }
            }
        }
    }
}

/// What is between the braces of a series that was read before.
pub(super) fn items<'a, D: Dialect>(raw: &'a [u8]) -> impl Iterator<Item = Item<'a>> {
    let mut cursor = Cursor::over_series(raw);
    cursor.take_metric_name();
    let braces = eat_brace::<D>(&mut cursor);
    iter::from_fn(move || {
        if braces {
            label_block::next_item::<D>(&mut cursor).ok()?
        } else {
            None
        }
    })
}

/// Reads the name of the family that a metadata line is about, still escaped.
/// In quotes Prometheus lets the empty one pass.
pub(super) fn family_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    if cursor.peek() == Some(b'"') {
        return label_block::quoted_name(cursor, true);
    }
    match cursor.take_metric_name() {
        [] => Err(cursor.expected("a metric name")),
        name => Ok(name),
    }
}

/// Reads the brace that opens the labels, or nothing where there are none.
fn eat_brace<D: Dialect>(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    if D::BLANKS {
        ahead.skip_blanks();
    }
    let found = ahead.eat(b'{');
    if found {
        *cursor = ahead;
    }
    found
}

/// The value of `name` in the form in which Prometheus 3 stores bucket bounds
/// and quantiles, whatever form the target gave them. What it does not take as a
/// sample's value (hexadecimal digits, underscores) is left as it is.
fn canonical<'a>(metric_type: MetricType, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    let is_number = match metric_type {
        MetricType::Summary => name == QUANTILE,
        MetricType::Histogram => name == BUCKET,
        _ => false,
    };
    if !is_number {
        return value;
    }
    match float::value(value.as_bytes()) {
        Some(number) => mesh::float::openmetrics(number).into(),
        None => value,
    }
}

/// Resolves `\\`, `\"` and `\n`; another backslash stands for itself.
pub(super) fn unescape(text: &[u8]) -> Cow<'_, str> {
    resolve(text, true)
}

/// Resolves `\\` and `\n` only, as in the help of the Prometheus text format.
pub(super) fn unescape_help(text: &[u8]) -> Cow<'_, str> {
    resolve(text, false)
}

fn resolve(text: &[u8], quotes: bool) -> Cow<'_, str> {
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
