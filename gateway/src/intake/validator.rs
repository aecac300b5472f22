//! Rejects data points that no backend can store, and names their metric.

use std::time::Duration;

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, ResourceMetrics,
    metric::Data,
};

use crate::{export_result::ExportResult, points::Point};

/// Validates data points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validator {
    /// Maximum time that a point may be ahead of the clock. AMP accepts ten minutes.
    pub(crate) max_future: Duration,
}

/// Reason to reject a point; `None` if it is valid.
type Problem = Option<(Reason, &'static str)>;

// === impl Validator ===

impl Validator {
    /// Removes invalid points from a resource and counts them in `result`.
    pub(super) fn remove_invalid(
        &self,
        resource: &mut ResourceMetrics,
        now_ms: i64,
        result: &mut ExportResult,
    ) {
        let latest_ms = now_ms.saturating_add(self.max_future.as_millis() as i64);
        let latest = u64::try_from(latest_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        let scopes = resource.scope_metrics.iter_mut();
        for metric in scopes.flat_map(|scope| &mut scope.metrics) {
            self::metric(metric, latest, result);
        }
    }
}

fn metric(metric: &mut Metric, latest: u64, result: &mut ExportResult) {
    let Metric { name, data, .. } = metric;
    match data {
        Some(Data::Gauge(data)) => retain(&mut data.data_points, name, result, |p| time(p, latest)),
        Some(Data::Sum(data)) => retain(&mut data.data_points, name, result, |p| time(p, latest)),
        Some(Data::Histogram(data)) => retain(&mut data.data_points, name, result, |p| {
            time(p, latest).or(buckets(p))
        }),
        Some(Data::ExponentialHistogram(data)) => {
            retain(&mut data.data_points, name, result, |p| {
                time(p, latest).or(count(p))
            })
        }
        Some(Data::Summary(data)) => {
            retain(&mut data.data_points, name, result, |p| time(p, latest));
        }
        None => {}
    }
}

fn retain<P>(
    points: &mut Vec<P>,
    name: &str,
    result: &mut ExportResult,
    check: impl Fn(&P) -> Problem,
) {
    points.retain(|point| match check(point) {
        None => true,
        Some((reason, problem)) => {
            result.reject(reason, 1, || format!("metric {name:?}: {problem}"));
            false
        }
    });
}

fn time(point: &impl Point, latest: u64) -> Problem {
    match point.time() {
        0 => Some((Reason::Malformed, "data point without a timestamp")),
        time if time > latest => Some((
            Reason::TooFarInFuture,
            "data point further in the future than --otlp.max-future",
        )),
        _ => None,
    }
}

/// Checks that bounds ascend, and that there is one more count than bounds, or no count and no
/// bound.
fn buckets(point: &HistogramDataPoint) -> Problem {
    let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
    let matching = counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty());
    if !matching {
        return Some((
            Reason::InvalidHistogram,
            "histogram whose bucket counts are not one more than its bounds",
        ));
    }
    // NaN fails every comparison, but a single NaN bound has no pair to compare.
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || bounds.iter().any(|bound| bound.is_nan()) {
        return Some((
            Reason::InvalidHistogram,
            "histogram whose bounds do not ascend",
        ));
    }
    None
}

/// Checks that the count of an exponential histogram is the sum of its buckets. A delta
/// for which this is false would make its total permanently wrong.
fn count(point: &ExponentialHistogramDataPoint) -> Problem {
    let is_stale = point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0;
    let sides = point.positive.iter().chain(&point.negative);
    let counts = sides.flat_map(|buckets| &buckets.bucket_counts);
    let buckets: u128 = counts
        .chain([&point.zero_count])
        .map(|n| u128::from(*n))
        .sum();
    let count = u128::from(point.count);
    // Observations of NaN add to the count but to no bucket.
    let has_nan = point.sum.is_some_and(f64::is_nan);
    let agrees = buckets == count || (has_nan && buckets < count);
    (!agrees && !is_stale).then_some((
        Reason::InvalidHistogram,
        "exponential histogram whose count is not the sum of its buckets",
    ))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

    use super::*;

    #[test]
    fn the_count_of_an_exponential_histogram_is_the_sum_of_its_buckets() {
        let buckets = |bucket_counts| {
            Some(Buckets {
                offset: 0,
                bucket_counts,
            })
        };
        let is_valid = |count, sum, flags| {
            let point = ExponentialHistogramDataPoint {
                count,
                sum,
                flags,
                zero_count: 1,
                positive: buckets(vec![2, 3]),
                negative: buckets(vec![4]),
                ..Default::default()
            };
            super::count(&point).is_none()
        };
        assert!(is_valid(10, Some(1.0), 0));
        assert!(is_valid(10, None, 0));
        assert!(!is_valid(9, Some(1.0), 0));
        assert!(!is_valid(11, Some(1.0), 0));
        assert!(!is_valid(11, None, 0));
        // Observations of NaN.
        assert!(is_valid(11, Some(f64::NAN), 0));
        assert!(!is_valid(9, Some(f64::NAN), 0));
        assert!(is_valid(
            0,
            None,
            DataPointFlags::NoRecordedValueMask as u32
        ));
        let overflow = ExponentialHistogramDataPoint {
            count: 1,
            positive: buckets(vec![u64::MAX, 2]),
            ..Default::default()
        };
        assert!(super::count(&overflow).is_some());
    }
}
