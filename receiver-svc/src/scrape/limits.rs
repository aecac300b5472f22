//! The limits of a scrape. Exceeding one of them fails it as a whole.

use mesh::labels::{Labels, METRIC_NAME};

use super::resolution::{self, MAX_SCHEMA, MIN_SCHEMA};
use crate::exposition::Histogram;

/// What the labels of a series may be. A limit of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// How many there may be, the name included.
    pub labels: u64,
    /// Bytes of a name.
    pub name_length: u64,
    /// Bytes of a value.
    pub value_length: u64,
}

/// A limit was exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `label_limit`.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {found}, limit: {limit})")]
    Labels {
        /// The metric, cut.
        metric: String,
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// `label_name_length_limit`.
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {found}, limit: {limit})"
    )]
    NameLength {
        /// The metric, cut.
        metric: String,
        /// The label, cut.
        name: String,
        /// Its length.
        found: u64,
        /// What it may be.
        limit: u64,
    },
    /// `label_value_length_limit`.
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {found}, limit: {limit})"
    )]
    ValueLength {
        /// The metric, cut.
        metric: String,
        /// The label, cut.
        name: String,
        /// Its value, cut.
        value: String,
        /// Its length.
        found: u64,
        /// What it may be.
        limit: u64,
    },
    /// `sample_limit`.
    #[error("sample limit exceeded (limit: {limit})")]
    Samples {
        /// How many samples there may be.
        limit: u64,
    },
    /// `native_histogram_bucket_limit`, which no loss of resolution can meet.
    #[error("histogram bucket limit exceeded (limit: {limit})")]
    Buckets {
        /// How many buckets a histogram may have.
        limit: u64,
    },
}

/// How much of a name or a value a message shows, in characters.
const SHOWN: usize = 50;

/// Fits a native histogram to the limits by making its buckets wider.
///
/// # Errors
/// Where it has too many buckets and they cannot be made wider.
pub(crate) fn fit(
    histogram: &mut Histogram,
    bucket_limit: u64,
    max_schema: i32,
) -> Result<(), LimitError> {
    if resolution::is_exponential(histogram.schema) && histogram.schema > max_schema {
        resolution::reduce(histogram, max_schema);
    }
    let exceeded = |histogram: &Histogram| {
        bucket_limit > 0 && resolution::buckets(histogram) as u64 > bucket_limit
    };
    while exceeded(histogram) {
        if !resolution::is_exponential(histogram.schema) || histogram.schema <= MIN_SCHEMA {
            return Err(LimitError::Buckets {
                limit: bucket_limit,
            });
        }
        resolution::reduce(histogram, histogram.schema - 1);
    }
    Ok(())
}

/// The finest schema whose buckets grow by at least `factor` each
/// (`native_histogram_min_bucket_factor`).
pub fn max_schema(factor: f64) -> i32 {
    // As Prometheus has it: a factor that says nothing asks for the finest.
    let factor = if factor <= 1.0 { 1.00271 } else { factor };
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i32
}

// === impl LabelLimits ===

impl LabelLimits {
    /// Checks the final labels of a series, the target's included.
    ///
    /// # Errors
    /// Where one of the limits is exceeded.
    pub(crate) fn check(&self, labels: &Labels) -> Result<(), LimitError> {
        let metric = || cut(labels.get(METRIC_NAME).unwrap_or_default());
        let count = labels.len() as u64;
        if exceeds(count, self.labels) {
            return Err(LimitError::Labels {
                metric: metric(),
                found: count,
                limit: self.labels,
            });
        }
        for (name, value) in labels.iter() {
            if exceeds(name.len() as u64, self.name_length) {
                return Err(LimitError::NameLength {
                    metric: metric(),
                    name: cut(name),
                    found: name.len() as u64,
                    limit: self.name_length,
                });
            }
            if exceeds(value.len() as u64, self.value_length) {
                return Err(LimitError::ValueLength {
                    metric: metric(),
                    name: cut(name),
                    value: cut(value),
                    found: value.len() as u64,
                    limit: self.value_length,
                });
            }
        }
        Ok(())
    }
}

fn exceeds(found: u64, limit: u64) -> bool {
    limit > 0 && found > limit
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Counts, Span};

    #[test]
    fn a_limit_names_the_label_and_cuts_what_is_long() {
        let labels: Labels = [(METRIC_NAME, "m".repeat(60)), ("a", "v".repeat(70))]
            .into_iter()
            .collect();
        let limits = LabelLimits {
            value_length: 69,
            ..LabelLimits::default()
        };
        let error = limits.check(&labels).unwrap_err().to_string();
        let (metric, value) = ("m".repeat(50), "v".repeat(50));
        assert_eq!(
            error,
            format!(
                "label_value_length_limit exceeded (metric: {metric}, label name: a, value: {value:?}, length: 70, limit: 69)"
            )
        );
        assert_eq!(LabelLimits::default().check(&labels), Ok(()));
    }

    #[test]
    fn a_histogram_loses_resolution_before_it_is_refused() {
        let wide = |spans: &[(i32, u32)]| Histogram {
            schema: 1,
            zero_threshold: 0.0,
            sum: 3.0,
            positive_spans: spans
                .iter()
                .map(|&(offset, length)| Span { offset, length })
                .collect(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            gauge: false,
            counts: Counts::Integer {
                count: 3,
                zero_count: 0,
                positive_deltas: vec![1, 0, 0],
                negative_deltas: Vec::new(),
            },
        };
        let mut near = wide(&[(1, 3)]);
        assert_eq!(fit(&mut near, 2, 8), Ok(()));
        assert_eq!((near.schema, resolution::buckets(&near)), (0, 2));
        // From 2^-2^19 to 2^2^19: schema -4 still has a bucket for each.
        let mut far = wide(&[(-1 << 20, 1), (1 << 20, 1), (1 << 20, 1)]);
        assert_eq!(fit(&mut far, 2, 8), Err(LimitError::Buckets { limit: 2 }));
        let mut fine = wide(&[(1, 3)]);
        assert_eq!(fit(&mut fine, 0, -4), Ok(()));
        assert_eq!((fine.schema, resolution::buckets(&fine)), (-4, 1));
    }
}
