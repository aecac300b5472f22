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
        for histogram in points {
            let times = times(histogram.time_unix_nano, histogram.start_time_unix_nano);
            let own = (
                &*histogram.attributes,
                histogram.flags,
                &*histogram.exemplars,
            );
            let Some(point) = self.point(attributes, own, times) else {
                continue;
            };
            if native {
                let native = exponential::custom_buckets(
                    &histogram.bucket_counts,
                    histogram.explicit_bounds,
                    histogram.count,
                    histogram.sum,
                );
                let native = if point.stale {
                    exponential::stale()
                } else {
                    native
                };
                self.native(&point, name, native);
                continue;
            }
            let mut total = 0u64;
            let buckets = histogram
                .explicit_bounds
                .iter()
                .zip(&histogram.bucket_counts);
            let buckets = buckets.map(|(bound, count)| {
                total = total.saturating_add(*count);
                (*bound, total)
            });
            let buckets: Vec<_> = buckets.collect();
            self.classic(&point, name, &buckets, histogram.count, histogram.sum);
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
            let Some(point) = self.point(attributes, own, times) else {
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
        let mut lower = f64::NEG_INFINITY;
        for (upper, total) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
            let inside =
                |exemplar: &&v1::Exemplar| exemplar.value > lower && exemplar.value <= upper;
            let inside: Vec<_> = point.exemplars.iter().filter(inside).cloned().collect();
            let bound = Some((BUCKET, mesh_wire::float::plain(upper)));
            self.float(point, &name, bound, total as f64, &inside, false);
            lower = upper;
        }
    }
}
