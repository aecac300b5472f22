//! Sample values in a form that does not depend on where they are stored.

use std::fmt;

use proto::v1::{self, histogram};

use stand_ins::amp::Value;

/// A value that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Comparable {
    /// Bits of a float.
    Float(u64),
    /// A staleness marker of a series of any type.
    Stale,
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// A native histogram, without details that a database may lay out in its own way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    schema: i32,
    gauge: bool,
    count: Count,
    zero_count: Count,
    sum: u64,
    zero_threshold: u64,
    custom_values: Vec<u64>,
    positive: Vec<(i64, Count)>,
    negative: Vec<(i64, Count)>,
}

/// A count of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    Integer(u64),
    Float(u64),
}

pub(crate) fn comparable(value: &Value) -> Comparable {
    match value {
        Value::Float(Value::STALE_NAN) => Comparable::Stale,
        Value::Histogram(histogram) if histogram.sum.to_bits() == Value::STALE_NAN => {
            Comparable::Stale
        }
        Value::Float(bits) => Comparable::Float(*bits),
        Value::Histogram(histogram) => Comparable::Histogram(Box::new(Histogram::of(histogram))),
    }
}

// === impl Comparable ===

impl fmt::Display for Comparable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(bits) => write!(f, "{:?} ({bits:#x})", f64::from_bits(*bits)),
            Self::Stale => f.write_str("a staleness marker"),
            Self::Histogram(histogram) => write!(f, "{histogram:?}"),
        }
    }
}

// === impl Histogram ===

impl Histogram {
    fn of(histogram: &v1::Histogram) -> Self {
        let float = |value: f64| value.to_bits();
        Self {
            schema: histogram.schema,
            gauge: histogram.reset_hint() == histogram::ResetHint::Gauge,
            count: match histogram.count {
                Some(histogram::Count::CountFloat(count)) => Count::Float(float(count)),
                Some(histogram::Count::CountInt(count)) => Count::Integer(count),
                None => Count::Integer(0),
            },
            zero_count: match histogram.zero_count {
                Some(histogram::ZeroCount::ZeroCountFloat(count)) => Count::Float(float(count)),
                Some(histogram::ZeroCount::ZeroCountInt(count)) => Count::Integer(count),
                None => Count::Integer(0),
            },
            sum: float(histogram.sum),
            zero_threshold: float(histogram.zero_threshold),
            custom_values: histogram.custom_values.iter().copied().map(float).collect(),
            positive: populated(
                &histogram.positive_spans,
                &histogram.positive_deltas,
                &histogram.positive_counts,
            ),
            negative: populated(
                &histogram.negative_spans,
                &histogram.negative_deltas,
                &histogram.negative_counts,
            ),
        }
    }
}

/// Non-empty buckets. A database adds empty ones if the samples before and after have more.
fn populated(spans: &[v1::BucketSpan], deltas: &[i64], floats: &[f64]) -> Vec<(i64, Count)> {
    let mut index = 0;
    let mut indexes = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        indexes.extend(index..index + i64::from(span.length));
        index += i64::from(span.length);
    }
    let mut total = 0;
    let integers = deltas.iter().map(|delta| {
        total += delta;
        Count::Integer(total as u64)
    });
    let floats = floats.iter().map(|count| Count::Float(count.to_bits()));
    let counts = indexes.into_iter().zip(integers.chain(floats));
    let is_filled = |count| !matches!(count, Count::Integer(0) | Count::Float(0));
    counts.filter(|(_, count)| is_filled(*count)).collect()
}
