//! Translates scraped histograms, classic and native.

use mesh_contract::verdict::Reason;
use mesh_wire::protobuf::{Fields, WireError};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use prost::Message;
use proto::v1::{self, histogram::Count};

use super::{
    ScrapeTranslator,
    metric::{Metric, Point},
    series::SeriesLayout,
};
use crate::translate::{
    exponential::{self, CUSTOM_BUCKETS, Exponential},
    sink::NativeHistograms,
};

/// Samples of a classic histogram that count as samples of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// All samples: the sender had a classic histogram.
    All,
    /// The first one: the sender had one native histogram.
    First,
}

// === impl ScrapeTranslator ===

impl ScrapeTranslator<'_> {
    pub(super) fn histogram(
        &mut self,
        metric: &Metric<'_>,
        encoded: &[u8],
    ) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut count, mut sum) = (0, None);
        let native = metric.custom_buckets
            && self.sink.capabilities().native_histograms == NativeHistograms::All;
        let kind = if native {
            SeriesLayout::Single
        } else {
            SeriesLayout::Histogram
        };
        self.series.begin(kind, metric.name);
        self.counts.clear();
        self.bounds.clear();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                9 => self.series.attribute(&field),
                2 => point.times.start_ms = field.time_ms()?,
                3 => point.times.time_ms = field.time_ms()?,
                4 => count = field.fixed64()?,
                5 => sum = Some(field.double()?),
                6 => field.fixed64s(&mut self.counts)?,
                7 => field.fixed64s(&mut self.bounds)?,
                8 => point.exemplars.push(field.bytes()?),
                10 => point.flags(field.varint()?),
                _ => {}
            }
        }
        if native {
            self.sink.count(1);
            return self.custom_buckets(&point, count, sum);
        }
        self.accumulate();
        let bounds = self.bounds.len();
        let written = bounds as u64 + 2 + u64::from(sum.is_some());
        let counted = if metric.custom_buckets {
            Counted::First
        } else {
            Counted::All
        };
        self.sink.count(match counted {
            Counted::First => 1,
            Counted::All => written,
        });
        self.classic(&point, count as f64, sum, counted)
    }

    /// Adds up `counts` into `cumulative`.
    fn accumulate(&mut self) {
        let mut total = 0u64;
        let counts = self.counts.iter().map(|count| {
            total = total.saturating_add(*count);
            total as f64
        });
        self.cumulative.clear();
        self.cumulative.extend(counts);
    }

    /// Writes `_bucket` from `bounds` and `cumulative`, `_sum` and `_count`.
    fn classic(
        &mut self,
        point: &Point<'_>,
        count: f64,
        sum: Option<f64>,
        counted: Counted,
    ) -> Result<(), WireError> {
        let exemplars = self.exemplars(point)?;
        let buckets = self.bounds.len();
        let bound = |i: usize| {
            self.bounds
                .get(i)
                .map_or(f64::INFINITY, |bits| f64::from_bits(*bits))
        };
        let mut below = 0.0;
        self.series.each(&self.bounds, |i, series| {
            let mut inside = Vec::new();
            let value = match i.checked_sub(buckets + 1) {
                None => {
                    let lower = i.checked_sub(1).map_or(f64::NEG_INFINITY, bound);
                    let within = |e: &&v1::Exemplar| e.value > lower && e.value <= bound(i);
                    inside.extend(exemplars.iter().filter(within).cloned());
                    below = self.cumulative.get(i).copied().unwrap_or(below);
                    // The last bucket holds all observations, whatever the others add
                    // up to.
                    if i == buckets { count } else { below }
                }
                Some(0) => match sum {
                    Some(sum) => sum,
                    None => return,
                },
                Some(_) => count,
            };
            let counted = counted == Counted::All || i == 0;
            self.sink
                .float(series, point.times, point.value(value), &inside, counted);
        })
    }

    /// Writes a native histogram with custom buckets.
    fn custom_buckets(
        &mut self,
        point: &Point<'_>,
        count: u64,
        sum: Option<f64>,
    ) -> Result<(), WireError> {
        let bounds = self
            .bounds
            .iter()
            .map(|bits| f64::from_bits(*bits))
            .collect();
        let histogram = exponential::custom_buckets(&self.counts, bounds, count, sum);
        self.write_native(point, histogram)
    }

    pub(super) fn exponential(
        &mut self,
        metric: &Metric<'_>,
        encoded: &[u8],
    ) -> Result<(), WireError> {
        let mut point = Point::default();
        let mut histogram = Exponential::default();
        self.series.begin(SeriesLayout::Single, metric.name);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => self.series.attribute(&field),
                2 => point.times.start_ms = field.time_ms()?,
                3 => point.times.time_ms = field.time_ms()?,
                4 => histogram.count = field.fixed64()?,
                5 => histogram.sum = Some(field.double()?),
                6 => histogram.scale = field.sint32()?,
                7 => histogram.zero_count = field.fixed64()?,
                8 => histogram.positive = Buckets::decode(field.bytes()?)?,
                9 => histogram.negative = Buckets::decode(field.bytes()?)?,
                10 => point.flags(field.varint()?),
                11 => point.exemplars.push(field.bytes()?),
                14 => histogram.zero_threshold = field.double()?,
                _ => {}
            }
        }
        self.sink.count(1);
        match histogram.to_native(0) {
            Ok(native) => self.native(&point, native),
            Err(error) => {
                self.sink.reject(Reason::InvalidHistogram, 1, || {
                    format!("metric {}: {error}", metric.name)
                });
                Ok(())
            }
        }
    }

    /// Writes a native histogram. If the destination does not support it, writes one with
    /// custom buckets as a classic histogram, and rejects any other.
    pub(super) fn native(
        &mut self,
        point: &Point<'_>,
        histogram: v1::Histogram,
    ) -> Result<(), WireError> {
        let supported = match self.sink.capabilities().native_histograms {
            NativeHistograms::None => false,
            NativeHistograms::Exponential => histogram.schema != CUSTOM_BUCKETS,
            NativeHistograms::All => true,
        };
        if supported {
            return self.write_native(point, histogram);
        }
        if histogram.schema == CUSTOM_BUCKETS {
            return self.native_to_classic(point, &histogram);
        }
        self.sink.reject(Reason::Unsupported, 1, || {
            let schema = histogram.schema;
            format!("the destination does not support native histograms of schema {schema}")
        });
        Ok(())
    }

    /// Writes a native histogram with custom buckets as a classic one.
    fn native_to_classic(
        &mut self,
        point: &Point<'_>,
        histogram: &v1::Histogram,
    ) -> Result<(), WireError> {
        let count = match histogram.count {
            Some(Count::CountInt(count)) => count as f64,
            Some(Count::CountFloat(count)) => count,
            None => 0.0,
        };
        let bounds = &histogram.custom_values;
        self.bounds.clear();
        self.bounds
            .extend(bounds.iter().map(|bound| bound.to_bits()));
        self.cumulative.clear();
        let counts = exponential::custom_counts(histogram);
        self.cumulative
            .extend(counts.iter().scan(0.0, |total, count| {
                *total += count;
                Some(*total)
            }));
        self.series.set_layout(SeriesLayout::Histogram);
        self.classic(point, count, Some(histogram.sum), Counted::First)
    }

    fn write_native(
        &mut self,
        point: &Point<'_>,
        histogram: v1::Histogram,
    ) -> Result<(), WireError> {
        let histogram = if point.stale {
            exponential::stale()
        } else {
            histogram
        };
        let exemplars = self.exemplars(point)?;
        let mut histogram = Some(histogram);
        self.series.each(&[], |_, series| {
            if let Some(histogram) = histogram.take() {
                self.sink
                    .histogram(series, point.times, histogram, &exemplars);
            }
        })
    }
}
