//! Translates pushed OTLP by the OpenTelemetry specification's compatibility rules, as
//! the OTLP endpoint of Prometheus 3 does.
//!
//! Pushed data comes in any form, so it is decoded with prost. Clarity of the rules
//! matters more here than speed.

use std::collections::HashSet;

use mesh_contract::verdict::Reason;
use mesh_model::{
    config::remote_write::OtlpConfig,
    labels::{LabelsBuilder, METRIC_NAME},
};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        Exemplar, Metric, NumberDataPoint, ResourceMetrics, metric::Data, number_data_point,
    },
};
use proto::v1;

use self::{attributes::Attributes, target_info::Period};
use super::{
    NO_RECORDED_VALUE, STALE_NAN, exemplar,
    name::Namer,
    sink::{Sink, Times},
};
use crate::ha::LabelRewriter;

mod attributes;
mod decode;
mod family;
mod histogram;
mod summary;
mod target_info;

/// Rules of the `otlp` section, ready to use.
#[derive(Clone, Debug)]
pub struct OtlpRules {
    namer: Namer,
    config: OtlpConfig,
}

/// Translates pushed metrics.
#[derive(Debug)]
pub struct OtlpTranslator<'a> {
    rules: &'a OtlpRules,
    rewriter: &'a LabelRewriter,
    sink: &'a mut Sink,
    /// Samples of `target_info` written so far, by series and timestamp. Several
    /// resources of a push may yield the same one.
    target_infos: HashSet<(u64, u64)>,
}

/// Data that all series of a data point share.
#[derive(Debug)]
struct Point {
    labels: LabelsBuilder,
    times: Times,
    stale: bool,
    exemplars: Vec<v1::Exemplar>,
}

// === impl OtlpRules ===

impl OtlpRules {
    /// Creates the rules of a configuration.
    pub fn new(config: OtlpConfig) -> Self {
        Self {
            namer: Namer::new(&config),
            config,
        }
    }
}

// === impl OtlpTranslator ===

impl<'a> OtlpTranslator<'a> {
    /// Creates a translator that rewrites labels with `rewriter`.
    pub fn new(rules: &'a OtlpRules, rewriter: &'a LabelRewriter, sink: &'a mut Sink) -> Self {
        Self {
            rules,
            rewriter,
            sink,
            target_infos: HashSet::new(),
        }
    }

    /// Translates the metrics of one resource.
    pub fn resource_metrics(&mut self, metrics: ResourceMetrics) {
        self.sink.begin_resource();
        let resource = metrics.resource.unwrap_or_default();
        let mut attributes = Attributes::of_resource(self.rules, &resource.attributes);
        let mut period = Period::default();
        for scope in metrics.scope_metrics {
            attributes.enter_scope(scope.scope.as_ref(), &scope.schema_url);
            for metric in scope.metrics {
                period.extend(&metric);
                self.metric(&attributes, metric);
            }
        }
        self.target_info(&resource.attributes, period);
    }

    fn metric(&mut self, attributes: &Attributes<'_>, metric: Metric) {
        let points = family::times(&metric).len() as u64;
        self.sink.count(points);
        let family = match family::describe(&self.rules.namer, &metric) {
            Ok(family) => family,
            Err((reason, problem)) => return self.sink.reject(reason, points, || problem),
        };
        let name = family.name.clone();
        if self.sink.capabilities().families {
            self.sink.begin_family(family);
        }
        match metric.data {
            None => {}
            Some(Data::Gauge(mut gauge)) => {
                // Gauges have no exemplars in Prometheus.
                gauge
                    .data_points
                    .iter_mut()
                    .for_each(|point| point.exemplars.clear());
                self.numbers(attributes, &name, gauge.data_points);
            }
            Some(Data::Sum(sum)) => self.numbers(attributes, &name, sum.data_points),
            Some(Data::Histogram(data)) => self.histograms(attributes, &name, data.data_points),
            Some(Data::ExponentialHistogram(data)) => {
                self.exponentials(attributes, &name, data.data_points);
            }
            Some(Data::Summary(data)) => self.summaries(attributes, &name, data.data_points),
        }
    }

    fn numbers(
        &mut self,
        attributes: &Attributes<'_>,
        name: &str,
        mut points: Vec<NumberDataPoint>,
    ) {
        points.sort_by_key(|point| point.time_unix_nano);
        for number in points {
            let times = times(number.time_unix_nano, number.start_time_unix_nano);
            let own = (&*number.attributes, number.flags, &*number.exemplars);
            let Some(point) = self.point(name, attributes, own, times) else {
                continue;
            };
            let value = match number.value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => 0.0,
            };
            self.float(&point, name, None, value, &point.exemplars, true);
        }
    }

    /// Data that all series of a data point share. Rejects the point and returns `None`
    /// if an attribute has no legal name.
    fn point(
        &mut self,
        name: &str,
        attributes: &Attributes<'_>,
        (own, flags, exemplars): (&[KeyValue], u32, &[Exemplar]),
        times: Times,
    ) -> Option<Point> {
        let labels = match attributes.labels(own) {
            Ok(labels) => labels,
            Err(error) => {
                let problem = || format!("metric {name}: {error}");
                self.sink.reject(Reason::InvalidLabel, 1, problem);
                return None;
            }
        };
        let stale = flags & NO_RECORDED_VALUE != 0;
        let exemplars = if self.sink.capabilities().exemplars && !stale {
            exemplar::translate_all(exemplars)
        } else {
            Vec::new()
        };
        Some(Point {
            labels,
            times,
            stale,
            exemplars,
        })
    }

    /// Writes a float sample of the series `name`. Only the first sample of a point is
    /// `counted`.
    fn float(
        &mut self,
        point: &Point,
        name: &str,
        extra: Option<(&str, String)>,
        value: f64,
        exemplars: &[v1::Exemplar],
        counted: bool,
    ) {
        let mut labels = point.labels.clone();
        if let Some((name, value)) = extra {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, name);
        let series = self.rewriter.rewrite(&mut labels);
        let value = if point.stale { STALE_NAN } else { value };
        self.sink
            .float(series.as_ref(), point.times, value, exemplars, counted);
    }

    /// Writes a native histogram.
    fn native(&mut self, point: &Point, name: &str, histogram: v1::Histogram) {
        let mut labels = point.labels.clone();
        labels.set(METRIC_NAME, name);
        let series = self.rewriter.rewrite(&mut labels);
        self.sink
            .histogram(series.as_ref(), point.times, histogram, &point.exemplars);
    }
}

fn times(time_unix_nano: u64, start_time_unix_nano: u64) -> Times {
    let millis = |nanos: u64| (nanos / 1_000_000) as i64;
    Times {
        time_ms: millis(time_unix_nano),
        start_ms: millis(start_time_unix_nano),
    }
}

#[cfg(test)]
mod tests;
