//! Translates scraped data: OTLP bytes to remote-write bytes, without any change of
//! content (law 12).
//!
//! A receiver writes every label but the name as an attribute of the data point, and
//! the exact sample name as the metric's name. So the translation is mechanical. It
//! runs for every sample, so it reads borrowed bytes and merges the added labels
//! between the encoded attributes. Only series that need relabeling use
//! [`super::cache`]. The tests have an `oracle` that applies the same rules to prost's
//! types.

use mesh_wire::protobuf::{Field, Fields, WireError};
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use prost::Message;
use proto::v1;

use self::{
    metric::{Metric, Point, PointType, messages},
    series::{SeriesBuilder, SeriesLayout},
};
use super::{cache::LabelCache, exemplar, sink::Sink};
use crate::ha::LabelRewriter;

mod histogram;
pub mod metric;
mod passthrough;
pub mod series;

/// Attribute with a native histogram that OTLP cannot express, as an encoded
/// remote-write `Histogram`.
pub const HISTOGRAM_ATTRIBUTE: &str = "promesh.histogram";

/// Translates scraped metrics.
#[derive(Debug)]
pub struct ScrapeTranslator<'a> {
    series: SeriesBuilder<'a>,
    sink: &'a mut Sink,
    /// Bucket counts of the current histogram.
    counts: Vec<u64>,
    /// Number of observations at or below each bound of the current classic histogram.
    cumulative: Vec<f64>,
    /// Bounds of the current histogram or quantiles of the current summary, as bits.
    bounds: Vec<u64>,
}

// === impl ScrapeTranslator ===

impl<'a> ScrapeTranslator<'a> {
    /// Creates a translator that rewrites labels with `rewriter`. The cache
    /// distinguishes rewriters by `rewriter_id`.
    pub fn new(
        rewriter: &'a LabelRewriter,
        rewriter_id: u32,
        cache: &'a LabelCache,
        sink: &'a mut Sink,
    ) -> Self {
        Self {
            series: SeriesBuilder::new(rewriter, rewriter_id, cache),
            sink,
            counts: Vec::new(),
            cumulative: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Translates one encoded `ResourceMetrics`.
    ///
    /// # Errors
    /// Returns an error if the bytes are malformed.
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
        if self.sink.capabilities().families {
            self.sink.begin_family(metric.family());
        }
        for point in messages(metric.data, 1) {
            let point = point?;
            match metric.kind {
                PointType::Number => self.number(&metric, point)?,
                PointType::Histogram => self.histogram(&metric, point)?,
                PointType::Exponential => self.exponential(&metric, point)?,
                PointType::Summary => self.summary(&metric, point)?,
            }
        }
        Ok(())
    }

    fn number(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut value, mut histogram) = (0.0, None);
        self.series.begin(SeriesLayout::Single, metric.name);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                7 => match histogram_attribute(&field)? {
                    None => self.series.attribute(&field),
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
        self.series.each(&[], |_, series| {
            self.sink
                .float(series, point.times, value, &exemplars, true);
        })
    }

    fn summary(&mut self, metric: &Metric<'_>, encoded: &[u8]) -> Result<(), WireError> {
        let mut point = Point::default();
        let (mut count, mut sum) = (0, 0.0);
        self.series.begin(SeriesLayout::Summary, metric.name);
        self.bounds.clear();
        // Also holds the values at the quantiles, as bits.
        self.counts.clear();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                7 => self.series.attribute(&field),
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
        self.series.each(&self.bounds, |i, series| {
            let value = point.value(f64::from_bits(self.counts[i]));
            self.sink.float(series, point.times, value, &[], true);
        })
    }

    /// Reads one `ValueAtQuantile`.
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
        if !self.sink.capabilities().exemplars {
            return Ok(Vec::new());
        }
        let exemplars = point.exemplars.iter();
        let exemplars = exemplars.map(|encoded| Exemplar::decode(*encoded));
        let exemplars: Vec<_> = exemplars.collect::<Result<_, _>>()?;
        Ok(exemplar::translate_all(&exemplars))
    }
}

/// Decodes the native histogram if `field` is the attribute that carries one.
fn histogram_attribute(field: &Field<'_>) -> Result<Option<v1::Histogram>, WireError> {
    let name = HISTOGRAM_ATTRIBUTE.as_bytes();
    // Runs for every label of every sample; the first comparison rejects most.
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
