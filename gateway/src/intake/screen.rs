//! Points that no backend can take are refused here, with their metric's name.

use std::time::Duration;

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, Metric, ResourceMetrics, metric::Data,
};

use super::Taken;
use crate::points::Point;

/// What a point has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// How far it may be ahead of this clock. AMP takes ten minutes.
    pub(crate) max_future: Duration,
}

/// Why a point is refused.
type Problem = Option<(Reason, &'static str)>;

// === impl Screen ===

impl Screen {
    /// Takes out what cannot be carried.
    pub(super) fn screen(&self, resource: &mut ResourceMetrics, now_ms: i64, taken: &mut Taken) {
        let latest_ms = now_ms.saturating_add(self.max_future.as_millis() as i64);
        let latest = u64::try_from(latest_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        let scopes = resource.scope_metrics.iter_mut();
        for metric in scopes.flat_map(|scope| &mut scope.metrics) {
            self::metric(metric, latest, taken);
        }
    }
}

fn metric(metric: &mut Metric, latest: u64, taken: &mut Taken) {
    let Metric { name, data, .. } = metric;
    match data {
        Some(Data::Gauge(data)) => retain(&mut data.data_points, name, taken, |p| time(p, latest)),
        Some(Data::Sum(data)) => retain(&mut data.data_points, name, taken, |p| time(p, latest)),
        Some(Data::Histogram(data)) => retain(&mut data.data_points, name, taken, |p| {
            time(p, latest).or(buckets(p))
        }),
        Some(Data::ExponentialHistogram(data)) => {
            retain(&mut data.data_points, name, taken, |p| time(p, latest));
        }
        Some(Data::Summary(data)) => {
            retain(&mut data.data_points, name, taken, |p| time(p, latest));
        }
        None => {}
    }
}

fn retain<P>(points: &mut Vec<P>, name: &str, taken: &mut Taken, check: impl Fn(&P) -> Problem) {
    points.retain(|point| match check(point) {
        None => true,
        Some((reason, problem)) => {
            taken.reject(reason, 1, || format!("metric {name:?}: {problem}"));
            false
        }
    });
}

fn time(point: &impl Point, latest: u64) -> Problem {
    match point.time() {
        0 => Some((Reason::Malformed, "a point without a time")),
        time if time > latest => Some((
            Reason::TooFarInFuture,
            "a point further in the future than is allowed",
        )),
        _ => None,
    }
}

/// Bounds go up, and there is one more count than bounds, or neither.
fn buckets(point: &HistogramDataPoint) -> Problem {
    let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
    let matching = counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty());
    if !matching {
        return Some((
            Reason::InvalidHistogram,
            "a histogram whose counts are not one more than its bounds",
        ));
    }
    // NaN is above nothing.
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || bounds.iter().any(|bound| bound.is_nan()) {
        return Some((
            Reason::InvalidHistogram,
            "a histogram whose bounds do not go up",
        ));
    }
    None
}
