//! Histograms: classic ones with cumulative buckets, or native ones.

use mesh_contract::verdict::Reason;
use mesh_model::labels::BUCKET;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};
use proto::v1;

use super::{OtlpTranslator, Point, attributes::Attributes, times};
use crate::translate::{
    NO_RECORDED_VALUE,
    exponential::{self, Exponential},
    sink::NativeHistograms,
};

/// Width of the zero bucket if OTLP does not give one.
const DEFAULT_ZERO_THRESHOLD: f64 = 1e-128;
/// Maximum number of buckets in AMP. Histograms with more lose resolution.
const MAX_NATIVE_BUCKETS: usize = 200;

/// Buckets of a histogram with explicit bounds.
struct ExplicitBuckets {
    /// Upper bounds, without the `+Inf` of the last bucket.
    bounds: Vec<f64>,
    /// Number of observations by bucket. Empty if unknown.
    counts: Vec<u64>,
}

// === impl ExplicitBuckets ===

impl ExplicitBuckets {
    /// Takes the buckets of a data point. Returns `None` if its bounds do not ascend, since
    /// two buckets of one bound are two samples of one series.
    ///
    /// The bound `+Inf` is implied. A point that also lists it has an empty bucket above,
    /// which joins the one below.
    fn of(point: &mut HistogramDataPoint) -> Option<Self> {
        let mut bounds = std::mem::take(&mut point.explicit_bounds);
        let mut counts = std::mem::take(&mut point.bucket_counts);
        // A single NaN has no pair to compare.
        let ascend = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || bounds.iter().any(|bound| bound.is_nan()) {
            return None;
        }
        if bounds.pop_if(|bound| *bound == f64::INFINITY).is_some() {
            let above = counts.split_off(counts.len().min(bounds.len() + 1));
            if let Some(last) = counts.get_mut(bounds.len()) {
                *last = above.into_iter().fold(*last, u64::saturating_add);
            }
        }
        Some(Self { bounds, counts })
    }

    /// Bounds below `+Inf`, and the number of observations at or below them.
    fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0u64;
        let buckets = self.bounds.iter().zip(&self.counts);
        let buckets = buckets.map(|(bound, count)| {
            total = total.saturating_add(*count);
            (*bound, total)
        });
        buckets.collect()
    }
}

// === impl OtlpTranslator ===

impl OtlpTranslator<'_> {
    /// Translates histograms with explicit bounds.
    pub(super) fn histograms(
        &mut self,
        attributes: &Attributes<'_>,
        name: &str,
        mut points: Vec<HistogramDataPoint>,
    ) {
        let native = self.rules.config.convert_histograms_to_nhcb
            && self.sink.capabilities().native_histograms == NativeHistograms::All;
        points.sort_by_key(|point| point.time_unix_nano);
        for mut histogram in points {
            let times = times(histogram.time_unix_nano, histogram.start_time_unix_nano);
            let own = (
                &*histogram.attributes,
                histogram.flags,
                &*histogram.exemplars,
            );
            let Some(point) = self.point(name, attributes, own, times) else {
                continue;
            };
            let Some(buckets) = ExplicitBuckets::of(&mut histogram) else {
                let problem = || format!("metric {name}: histogram whose bounds do not ascend");
                self.sink.reject(Reason::InvalidHistogram, 1, problem);
                continue;
            };
            if native && point.stale {
                self.native(&point, name, exponential::stale());
            } else if native {
                let native = exponential::custom_buckets(
                    &buckets.counts,
                    buckets.bounds,
                    histogram.count,
                    histogram.sum,
                );
                self.native(&point, name, native);
            } else {
                let buckets = buckets.cumulative();
                self.classic(&point, name, &buckets, histogram.count, histogram.sum);
            }
        }
    }

    /// Translates exponential histograms. They become classic ones if the destination
    /// does not support native histograms.
    pub(super) fn exponentials(
        &mut self,
        attributes: &Attributes<'_>,
        name: &str,
        mut points: Vec<ExponentialHistogramDataPoint>,
    ) {
        points.sort_by_key(|point| point.time_unix_nano);
        for histogram in points {
            let times = times(histogram.time_unix_nano, histogram.start_time_unix_nano);
            let own = (
                &*histogram.attributes,
                histogram.flags,
                &*histogram.exemplars,
            );
            let Some(point) = self.point(name, attributes, own, times) else {
                continue;
            };
            let exponential = Exponential {
                count: histogram.count,
                sum: histogram.sum,
                scale: histogram.scale,
                zero_count: histogram.zero_count,
                zero_threshold: match histogram.zero_threshold {
                    0.0 => DEFAULT_ZERO_THRESHOLD,
                    given => given,
                },
                positive: histogram.positive.unwrap_or_default(),
                negative: histogram.negative.unwrap_or_default(),
                stale: histogram.flags & NO_RECORDED_VALUE != 0,
            };
            let written = match self.sink.capabilities().native_histograms {
                NativeHistograms::None => exponential.to_classic().map(|buckets| {
                    self.classic(&point, name, &buckets, exponential.count, exponential.sum)
                }),
                _ => exponential
                    .to_native(MAX_NATIVE_BUCKETS)
                    .map(|native| self.native(&point, name, native)),
            };
            if let Err(error) = written {
                let problem = || format!("metric {name}: {error}");
                self.sink.reject(Reason::InvalidHistogram, 1, problem);
            }
        }
    }

    /// Writes `_count`, `_sum` if there is one, and `_bucket`. `buckets` holds upper
    /// bounds and the number of observations at or below them.
    fn classic(
        &mut self,
        point: &Point,
        name: &str,
        buckets: &[(f64, u64)],
        count: u64,
        sum: Option<f64>,
    ) {
        self.float(
            point,
            &format!("{name}_count"),
            None,
            count as f64,
            &[],
            true,
        );
        if let Some(sum) = sum {
            self.float(point, &format!("{name}_sum"), None, sum, &[], false);
        }
        let name = format!("{name}_bucket");
        let mut lower = None;
        for (upper, total) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
            // NaN and -Inf are in the first bucket.
            let inside = |exemplar: &&v1::Exemplar| {
                let value = exemplar.value;
                lower.is_none_or(|lower| value > lower) && (value <= upper || value.is_nan())
            };
            let inside: Vec<_> = point.exemplars.iter().filter(inside).cloned().collect();
            let bound = Some((BUCKET, mesh_wire::float::plain(upper)));
            self.float(point, &name, bound, total as f64, &inside, false);
            lower = Some(upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn buckets(bounds: &[f64], counts: &[u64]) -> Option<(Vec<f64>, Vec<u64>)> {
        let buckets = ExplicitBuckets::of(&mut HistogramDataPoint {
            explicit_bounds: bounds.to_vec(),
            bucket_counts: counts.to_vec(),
            ..Default::default()
        });
        buckets.map(|buckets| (buckets.bounds, buckets.counts))
    }

    #[test]
    fn an_explicit_infinite_bound_joins_the_last_bucket() {
        let is = |bounds: &[f64], counts: &[u64], want: (&[f64], &[u64])| {
            let want = (want.0.to_vec(), want.1.to_vec());
            assert_eq!(buckets(bounds, counts), Some(want));
        };
        is(&[1.0], &[2, 3], (&[1.0], &[2, 3]));
        is(&[1.0, INF], &[2, 3, 0], (&[1.0], &[2, 3]));
        is(&[-INF, 1.0, INF], &[1, 2, 3, 4], (&[-INF, 1.0], &[1, 2, 7]));
        is(&[INF], &[5, 1], (&[], &[6]));
        // Counts are missing.
        is(&[INF], &[], (&[], &[]));
        is(&[1.0, INF], &[2], (&[1.0], &[2]));
    }

    #[test]
    fn bounds_must_ascend() {
        for bounds in [
            &[1.0, 1.0][..],
            &[2.0, 1.0],
            &[f64::NAN],
            &[1.0, f64::NAN, 2.0],
            &[1.0, INF, INF],
            &[0.0, -0.0],
        ] {
            assert_eq!(buckets(bounds, &[1, 2, 3, 4]), None, "{bounds:?}");
        }
    }
}
