//! Limits of a scrape. A scrape that exceeds one of them fails.

use mesh_model::labels::{Labels, METRIC_NAME};

use crate::{
    exposition::Histogram,
    samples::resolution::{self, MAX_SCHEMA, MIN_SCHEMA},
};

/// Limits of the labels of a series; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// Maximum number of labels, including the name.
    pub labels: u64,
    /// Maximum length of a label name in bytes.
    pub name_length: u64,
    /// Maximum length of a label value in bytes.
    pub value_length: u64,
}

/// Exceeded limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `label_limit` exceeded.
    #[error("label_limit exceeded (metric: {metric}, number of labels: {found}, limit: {limit})")]
    Labels {
        /// Metric name, truncated.
        metric: String,
        /// Number of labels.
        found: u64,
        /// Maximum number of labels.
        limit: u64,
    },
    /// `label_name_length_limit` exceeded.
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {found}, limit: {limit})"
    )]
    NameLength {
        /// Metric name, truncated.
        metric: String,
        /// Label name, truncated.
        name: String,
        /// Length in bytes.
        found: u64,
        /// Maximum length in bytes.
        limit: u64,
    },
    /// `label_value_length_limit` exceeded.
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {found}, limit: {limit})"
    )]
    ValueLength {
        /// Metric name, truncated.
        metric: String,
        /// Label name, truncated.
        name: String,
        /// Label value, truncated.
        value: String,
        /// Length in bytes.
        found: u64,
        /// Maximum length in bytes.
        limit: u64,
    },
    /// `sample_limit` exceeded.
    #[error("sample limit exceeded (limit: {limit})")]
    Samples {
        /// Maximum number of samples.
        limit: u64,
    },
    /// `native_histogram_bucket_limit` exceeded even at the lowest resolution.
    #[error("histogram bucket limit exceeded (limit: {limit})")]
    Buckets {
        /// Maximum number of buckets of a histogram.
        limit: u64,
    },
}

/// Maximum length of a name or value in an error message, in characters.
const MAX_SHOWN_CHARS: usize = 50;

/// Reduces the resolution of a native histogram until it meets the limits.
///
/// # Errors
/// Returns an error if it has too many buckets even at the lowest resolution.
pub(crate) fn reduce_resolution(
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

/// Returns the finest schema whose buckets grow by at least `factor`
/// (`native_histogram_min_bucket_factor`).
pub fn max_schema(factor: f64) -> i32 {
    // As in Prometheus, a factor of 1 or less selects the finest schema.
    let factor = if factor <= 1.0 { 1.00271 } else { factor };
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i32
}

// === impl LabelLimits ===

impl LabelLimits {
    /// Checks the final labels of a series, including those of the target.
    ///
    /// # Errors
    /// Returns an error if a limit is exceeded.
    pub(crate) fn check(&self, labels: &Labels) -> Result<(), LimitError> {
        let metric = || truncate(labels.get(METRIC_NAME).unwrap_or_default());
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
                    name: truncate(name),
                    found: name.len() as u64,
                    limit: self.name_length,
                });
            }
            if exceeds(value.len() as u64, self.value_length) {
                return Err(LimitError::ValueLength {
                    metric: metric(),
                    name: truncate(name),
                    value: truncate(value),
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

fn truncate(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Counts, Span};

    #[test]
    fn error_names_the_label_and_truncates_long_text() {
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
    fn reduces_resolution_before_rejecting_a_histogram() {
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
        assert_eq!(reduce_resolution(&mut near, 2, 8), Ok(()));
        assert_eq!((near.schema, resolution::buckets(&near)), (0, 2));
        // From 2^-2^19 to 2^2^19: at schema -4 each observation still has its own bucket.
        let mut far = wide(&[(-1 << 20, 1), (1 << 20, 1), (1 << 20, 1)]);
        assert_eq!(
            reduce_resolution(&mut far, 2, 8),
            Err(LimitError::Buckets { limit: 2 })
        );
        let mut fine = wide(&[(1, 3)]);
        assert_eq!(reduce_resolution(&mut fine, 0, -4), Ok(()));
        assert_eq!((fine.schema, resolution::buckets(&fine)), (-4, 1));
    }
}
