//! The gateway's path: OTLP to Prometheus by the OpenTelemetry specification's
//! compatibility rules, as Prometheus 3 applies them on its own OTLP endpoint.
//!
//! Pushed data comes in any shape, so it is read in prost's types: what counts
//! here is that each rule can be found.

use std::collections::HashSet;

use mesh::{
    config::remote_write::OtlpConfig,
    labels::{LabelsBuilder, METRIC_NAME},
    verdict::Reason,
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
use crate::ha::Stamp;

mod attributes;
mod family;
mod histogram;
mod summary;
mod target_info;

/// The `otlp` section, ready to be applied.
#[derive(Clone, Debug)]
pub struct OtlpRules {
    namer: Namer,
    config: OtlpConfig,
}

/// Translates pushes.
#[derive(Debug)]
pub struct Otlp<'a> {
    rules: &'a OtlpRules,
    stamp: &'a Stamp,
    sink: &'a mut Sink,
    /// The samples of `target_info` written so far, by series and time: several
    /// resources of one push may be the same.
    target_infos: HashSet<(u64, u64)>,
}

/// What the series of one data point have in common.
#[derive(Debug)]
struct Point {
    labels: LabelsBuilder,
    times: Times,
    stale: bool,
    exemplars: Vec<v1::Exemplar>,
}

// === impl OtlpRules ===

impl OtlpRules {
    /// The rules of a configuration.
    pub fn new(config: OtlpConfig) -> Self {
        Self {
            namer: Namer::new(&config),
            config,
        }
    }
}

// === impl Otlp ===

impl<'a> Otlp<'a> {
    /// A translator of pushes with this stamp.
    pub fn new(rules: &'a OtlpRules, stamp: &'a Stamp, sink: &'a mut Sink) -> Self {
        Self {
            rules,
            stamp,
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
            Err((reason, problem)) => return self.sink.refuse(reason, points, || problem),
        };
        let name = family.name.clone();
        if self.sink.wants().families {
            self.sink.begin_family(family);
        }
        match metric.data {
            None => {}
            Some(Data::Gauge(mut gauge)) => {
                // Exemplars belong to what counts.
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
            let Some(point) = self.point(attributes, own, times) else {
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

    /// What a data point's series have in common; `None` where an attribute has no
    /// legal name, and with it the point is refused.
    fn point(
        &mut self,
        attributes: &Attributes<'_>,
        (own, flags, exemplars): (&[KeyValue], u32, &[Exemplar]),
        times: Times,
    ) -> Option<Point> {
        let labels = match attributes.labels(own) {
            Ok(labels) => labels,
            Err(error) => {
                self.sink
                    .refuse(Reason::InvalidLabel, 1, || error.to_string());
                return None;
            }
        };
        let exemplars = match self.sink.wants().exemplars {
            true => exemplars.iter().map(exemplar::translate).collect(),
            false => Vec::new(),
        };
        let stale = flags & NO_RECORDED_VALUE != 0;
        Some(Point {
            labels,
            times,
            stale,
            exemplars,
        })
    }

    /// Writes a float sample of the series `name`; the first one of a point counts
    /// it.
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
        let series = self.stamp.render(&mut labels);
        let value = if point.stale { STALE_NAN } else { value };
        self.sink
            .float(series.as_ref(), point.times, value, exemplars, counted);
    }

    /// Writes a native histogram.
    fn native(&mut self, point: &Point, name: &str, histogram: v1::Histogram) {
        let mut labels = point.labels.clone();
        labels.set(METRIC_NAME, name);
        let series = self.stamp.render(&mut labels);
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
