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
    limits::LabelLimits,
    name::Namer,
    sink::{NativeHistograms, Sink, Times},
};
use crate::{ha::LabelRewriter, remote_write::part::EncodedLabels};

mod attributes;
mod decode;
mod estimate;
mod family;
mod histogram;
mod summary;
mod target_info;

/// Rules of the `otlp` section, ready to use.
#[derive(Clone, Debug)]
pub struct OtlpRules {
    namer: Namer,
    config: OtlpConfig,
    limits: LabelLimits,
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
    /// Limits of labels before write relabeling.
    exposed_limits: LabelLimits,
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
    /// Creates the rules of a configuration, without limits.
    pub fn new(config: OtlpConfig) -> Self {
        Self {
            namer: Namer::new(&config),
            config,
            limits: LabelLimits::NONE,
        }
    }

    /// Sets the limits of the labels of each series.
    #[must_use]
    pub fn with_limits(self, limits: LabelLimits) -> Self {
        Self { limits, ..self }
    }
}

// === impl OtlpTranslator ===

impl<'a> OtlpTranslator<'a> {
    /// Creates a translator that rewrites labels with `rewriter`.
    pub fn new(rules: &'a OtlpRules, rewriter: &'a LabelRewriter, sink: &'a mut Sink) -> Self {
        let exposed_limits = match rewriter.static_labels() {
            Some(_) => rules.limits,
            None => rules.limits.before_relabeling(),
        };
        Self {
            rules,
            rewriter,
            sink,
            target_infos: HashSet::new(),
            exposed_limits,
        }
    }

    /// Translates the metrics of one resource.
    pub fn resource_metrics(&mut self, metrics: ResourceMetrics) {
        self.sink.begin_resource();
        if let Err((reason, problem)) = self.check_resource(&metrics) {
            let metrics = metrics
                .scope_metrics
                .iter()
                .flat_map(|scope| &scope.metrics);
            let points = metrics
                .map(|metric| family::times(metric).len() as u64)
                .sum();
            self.sink.count(points);
            return self.sink.reject(reason, points, || problem);
        }
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

    /// Checks the labels that all series of a resource share, and the memory of all its series,
    /// before any of them is written.
    fn check_resource(&mut self, metrics: &ResourceMetrics) -> Result<(), (Reason, String)> {
        let own = metrics.resource.as_ref().map(|own| &*own.attributes);
        let mut attributes = Attributes::of_resource(self.rules, own.unwrap_or_default());
        let static_labels = self.rewriter.static_labels().unwrap_or_default();
        let external = static_labels.iter().map(|(n, v)| n.len() + v.len() + 8);
        let external: usize = external.sum();
        let mut shared = 0;
        for scope in &metrics.scope_metrics {
            attributes.enter_scope(scope.scope.as_ref(), &scope.schema_url);
            let checked = attributes.check(&self.exposed_limits);
            checked.map_err(|problem| (Reason::LabelLimit, format!("resource: {problem}")))?;
            shared = attributes.bytes().max(shared);
        }
        let classic = self.sink.capabilities().native_histograms == NativeHistograms::None;
        let bytes = estimate::series_bytes(metrics, shared + external, classic);
        let remaining = self.sink.remaining_bytes();
        if bytes > remaining {
            let problem = format!(
                "the series of one resource would take about {bytes} bytes, and {remaining} are \
                 left of --ingest.max-export-bytes; send fewer points at once, or shorter labels"
            );
            return Err((Reason::TooLarge, problem));
        }
        Ok(())
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
        if let Err(problem) = self.exposed_limits.check_count(own.len()) {
            let problem = || format!("metric {name}: {problem}");
            self.sink.reject(Reason::LabelLimit, 1, problem);
            return None;
        }
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
        let Some(series) = self.rewrite(&mut labels, counted) else {
            return;
        };
        let value = if point.stale { STALE_NAN } else { value };
        self.sink
            .float(series.as_ref(), point.times, value, exemplars, counted);
    }

    /// Returns the final labels of a series. Rejects the series and returns `None` if they
    /// exceed the limits.
    fn rewrite(&mut self, labels: &mut LabelsBuilder, counted: bool) -> Option<EncodedLabels> {
        let series = self.rewriter.rewrite(labels);
        // Relabeling has dropped a series without labels.
        if !series.labels.is_empty()
            && let Err(problem) = self.rules.limits.check(labels.iter())
        {
            let name = labels.get(METRIC_NAME).unwrap_or_default();
            let problem = || format!("metric {name}: {problem}");
            self.sink
                .reject(Reason::LabelLimit, u64::from(counted), problem);
            return None;
        }
        Some(series)
    }

    /// Writes a native histogram.
    fn native(&mut self, point: &Point, name: &str, histogram: v1::Histogram) {
        let mut labels = point.labels.clone();
        labels.set(METRIC_NAME, name);
        let Some(series) = self.rewrite(&mut labels, true) else {
            return;
        };
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
