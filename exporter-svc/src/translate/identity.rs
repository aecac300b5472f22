//! The scraped path: OTLP bytes to remote-write bytes, nothing changed on the
//! way (law 12).
//!
//! A receiver writes every label but the name as an attribute of the data point
//! and the exact sample name as the metric's name, so what is left to do is
//! mechanical. It is done for every sample there is, so it walks borrowed bytes and
//! merges our labels in between the attributes as they stand; only what has to be
//! relabeled goes through [`super::cache`]. The tests' `oracle` says the same in
//! prost's types.

use mesh::wire::{Field, Fields, WireError};
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use prost::Message;
use proto::v1;

use self::{
    metric::{Data, Metric, Point, messages},
    series::{Kind, Lookup},
};
use super::{cache::RenderCache, exemplar, sink::Sink};
use crate::ha::Stamp;

mod direct;
mod histogram;
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
        cache: &'a RenderCache,
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
        self.sink.begin_resource();
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
        self.lookup.each(&[], |_, series| {
            self.sink
                .float(series, point.times, value, &exemplars, true);
        })
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
        self.sink.count(self.bounds.len() as u64 + 2);
        self.counts
            .extend([sum.to_bits(), (count as f64).to_bits()]);
        self.lookup.each(&self.bounds, |i, series| {
            let value = point.value(f64::from_bits(self.counts[i]));
            self.sink.float(series, point.times, value, &[], true);
        })
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
