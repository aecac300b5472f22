//! The scraped path: OTLP bytes to remote-write bytes, nothing changed on the
//! way (law 12).
//!
//! A receiver writes every label but the name as an attribute of the data point
//! and the exact sample name as the metric's name, so what is left to do is
//! mechanical. It is done for every sample there is, so it walks borrowed bytes
//! and [`series::Lookup`] finds the rendered labels of a point by its encoded
//! attributes. The tests' `oracle` says the same in prost's types.

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, exponential_histogram_data_point::Buckets,
};
use prost::Message;
use proto::v1;

use self::{
    metric::{Data, Metric, Point, messages},
    series::{Kind, Lookup},
};
use super::{
    cache::RenderCache,
    exemplar,
    exponential::{self, CUSTOM_BUCKETS, Exponential},
    sink::{NativeHistograms, Sink},
};
use crate::{
    ha::Stamp,
    wire::{Field, Fields, WireError},
};

pub mod metric;
pub mod series;

/// The attribute that carries a native histogram that OTLP cannot express, as an
/// encoded remote-write `Histogram`.
pub const HISTOGRAM_ATTRIBUTE: &str = "promesh.histogram";

/// Translates the metrics of scrapes.
#[derive(Debug)]
pub struct Identity<'a> {
    lookup: Lookup<'a>,
    sink: &'a mut Sink,
    /// Counts by bucket of the histogram under way.
    counts: Vec<u64>,
    /// Its bounds, or a summary's quantiles, as bits.
    bounds: Vec<u64>,
}

// === impl Identity ===

impl<'a> Identity<'a> {
    /// A translator of scrapes with this stamp; `stamp_id` tells its entries in
    /// the cache from those of other stamps.
    pub fn new(
        stamp: &'a Stamp,
        stamp_id: u32,
        cache: &'a mut RenderCache,
        sink: &'a mut Sink,
    ) -> Self {
        Self {
            lookup: Lookup::new(stamp, stamp_id, cache),
            sink,
            counts: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Translates one encoded `ResourceMetrics`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn resource_metrics(&mut self, encoded: &[u8]) -> Result<(), WireError> {
        for scope in messages(encoded, 2) {
            for metric in messages(scope?, 2) {
                self.metric(Metric::read(metric?)?)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, metric: Metric<'_>) -> Result<(), WireError> {
        if self.sink.wants().families {
            self.sink.begin_family(metric.family());
        }
        for point in messages(metric.data, 1) {
            let point = point?;
            match metric.kind {
                Data::Number => self.number(&metric, point)?,
                Data::Histogram => self.histogram(&metric, point)?,
                Data::Exponential => self.exponential(&metric, point)?,
                Data::Summary => self.summary(&metric, point)?,
            }
        }
        Ok(())
    }

    fn number(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut value, mut histogram) = (0.0, None);
        self.lookup.begin(Kind::Single, metric.name);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                7 => match histogram_attribute(&field)? {
                    None => self.lookup.attribute(&field),
                    some => histogram = some,
                },
                2 => point.times.start_ms = field.time_ms()?,
                3 => point.times.time_ms = field.time_ms()?,
                4 => value = field.double()?,
                5 => point.exemplars.push(field.bytes()?),
                6 => value = field.fixed64()? as i64 as f64,
                8 => point.flags(field.varint()?),
                _ => {}
            }
        }
        self.sink.count(1);
        if let Some(histogram) = histogram {
            return self.native(&point, histogram);
        }
        let value = point.value(value);
        let exemplars = self.exemplars(&point)?;
        let series = self.lookup.series(&[])?;
        self.sink
            .float(&series[0], point.times, value, &exemplars, true);
        Ok(())
    }

    fn histogram(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut count, mut sum) = (0, None);
        let native =
            metric.custom_buckets && self.sink.wants().native_histograms == NativeHistograms::All;
        let kind = if native {
            Kind::Single
        } else {
            Kind::Histogram
        };
        self.lookup.begin(kind, metric.name);
        self.counts.clear();
        self.bounds.clear();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                9 => self.lookup.attribute(&field),
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
        self.classic(&point, count, sum, metric.custom_buckets)
    }

    /// Writes `_bucket`, `_sum` and `_count`. A native histogram in this form is
    /// still one sample of the sender's ledger.
    fn classic(
        &mut self,
        point: &Point<'_>,
        count: u64,
        sum: Option<f64>,
        one_sample: bool,
    ) -> Result<(), WireError> {
        let exemplars = self.exemplars(point)?;
        let series = self.lookup.series(&self.bounds)?;
        let written = self.bounds.len() as u64 + 2 + u64::from(sum.is_some());
        self.sink.count(if one_sample { 1 } else { written });
        let mut cumulative = 0u64;
        let mut lower = f64::NEG_INFINITY;
        for (i, series) in series[..=self.bounds.len()].iter().enumerate() {
            let upper = self
                .bounds
                .get(i)
                .map_or(f64::INFINITY, |bits| f64::from_bits(*bits));
            cumulative = cumulative.saturating_add(self.counts.get(i).copied().unwrap_or(0));
            // The last bucket holds all observations, also where no buckets are.
            let total = if i == self.bounds.len() {
                count
            } else {
                cumulative
            };
            let inside: Vec<_> = exemplars
                .iter()
                .filter(|exemplar| exemplar.value > lower && exemplar.value <= upper)
                .cloned()
                .collect();
            let value = point.value(total as f64);
            let counted = !one_sample || i == 0;
            self.sink
                .float(series, point.times, value, &inside, counted);
            lower = upper;
        }
        let [.., sums, counts] = series else {
            return Ok(());
        };
        if let Some(sum) = sum {
            self.sink
                .float(sums, point.times, point.value(sum), &[], !one_sample);
        }
        let value = point.value(count as f64);
        self.sink
            .float(counts, point.times, value, &[], !one_sample);
        Ok(())
    }

    /// Writes a native histogram with custom bounds.
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

    fn exponential(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let mut histogram = Exponential::default();
        self.lookup.begin(Kind::Single, metric.name);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => self.lookup.attribute(&field),
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
                self.sink.refuse(Reason::InvalidHistogram, 1, || {
                    format!("metric {}: {error}", metric.name)
                });
                Ok(())
            }
        }
    }

    /// Writes a native histogram where the destination takes it.
    fn native(&mut self, point: &Point<'_>, histogram: v1::Histogram) -> Result<(), WireError> {
        let taken = match self.sink.wants().native_histograms {
            NativeHistograms::None => false,
            NativeHistograms::Exponential => histogram.schema != CUSTOM_BUCKETS,
            NativeHistograms::All => true,
        };
        if taken {
            return self.write_native(point, histogram);
        }
        self.sink.refuse(Reason::Unsupported, 1, || {
            let schema = histogram.schema;
            format!("the destination takes no native histogram of schema {schema}")
        });
        Ok(())
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
        let series = self.lookup.series(&[])?;
        self.sink
            .histogram(&series[0], point.times, histogram, &exemplars);
        Ok(())
    }

    fn summary(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut count, mut sum) = (0, 0.0);
        self.lookup.begin(Kind::Summary, metric.name);
        self.bounds.clear();
        // The values at the quantiles, as bits too.
        self.counts.clear();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                7 => self.lookup.attribute(&field),
                2 => point.times.start_ms = field.time_ms()?,
                3 => point.times.time_ms = field.time_ms()?,
                4 => count = field.fixed64()?,
                5 => sum = field.double()?,
                6 => self.quantile(field.bytes()?)?,
                8 => point.flags(field.varint()?),
                _ => {}
            }
        }
        let series = self.lookup.series(&self.bounds)?;
        self.sink.count(series.len() as u64);
        let quantiles = self.counts.iter().map(|bits| f64::from_bits(*bits));
        let values = quantiles.chain([sum, count as f64]);
        for (series, value) in series.iter().zip(values) {
            self.sink
                .float(series, point.times, point.value(value), &[], true);
        }
        Ok(())
    }

    /// Notes one `ValueAtQuantile`.
    fn quantile(&mut self, encoded: &[u8]) -> Result<(), WireError> {
        let (mut quantile, mut value) = (0, 0);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => quantile = field.fixed64()?,
                2 => value = field.fixed64()?,
                _ => {}
            }
        }
        self.bounds.push(quantile);
        self.counts.push(value);
        Ok(())
    }

    fn exemplars(&self, point: &Point<'_>) -> Result<Vec<v1::Exemplar>, WireError> {
        if !self.sink.wants().exemplars {
            return Ok(Vec::new());
        }
        let translated = |encoded: &&[u8]| Ok(exemplar::translate(&Exemplar::decode(*encoded)?));
        point.exemplars.iter().map(translated).collect()
    }
}

/// The native histogram that an attribute of a number data point carries.
fn histogram_attribute(field: &Field<'_>) -> Result<Option<v1::Histogram>, WireError> {
    let name = HISTOGRAM_ATTRIBUTE.as_bytes();
    // Asked for every label of every sample: one comparison settles most.
    let Some(rest) = field.bytes()?.strip_prefix(&[1 << 3 | 2, name.len() as u8]) else {
        return Ok(None);
    };
    let Some(value) = rest.strip_prefix(name) else {
        return Ok(None);
    };
    // AnyValue.bytes_value of KeyValue.value.
    let Some(any) = messages(value, 2).next().transpose()? else {
        return Ok(None);
    };
    let bytes = messages(any, 7).next().transpose()?;
    Ok(bytes.map(v1::Histogram::decode).transpose()?)
}

#[cfg(test)]
mod tests;
