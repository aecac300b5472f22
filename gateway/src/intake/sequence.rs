//! Splits a resource into a sequence of batches with at most one point per stream each.
//!
//! A backend that requires order rejects the first point of a stream once it has the
//! second. A batch with both points could therefore not be retried after it was stored in
//! part (law 2). Separate batches, sent one after another, can.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
};

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, Sum, Summary, metric::Data,
};

use crate::{points, resource_splitter::ResourceSplitter, stream::Prefix};

/// Maximum number of batches per resource. The last batch has all remaining points, even
/// several of one stream.
const MAX_STEPS: usize = 100;

/// Splits a resource by time into parts with at most one point per stream.
pub(super) fn into_sequence(resource: &mut ResourceMetrics) -> Vec<ResourceMetrics> {
    if !may_repeat_a_stream(resource) {
        return vec![mem::take(resource)];
    }
    let steps = assign(resource);
    if steps.iter().all(|step| *step == 0) {
        return vec![mem::take(resource)];
    }
    let (mut splitter, mut steps) = (ResourceSplitter::new(resource), steps.into_iter());
    for (i, scope) in resource.scope_metrics.iter_mut().enumerate() {
        for mut metric in mem::take(&mut scope.metrics) {
            let data = metric.data.take();
            for (step, data) in data.map_or_else(Vec::new, |data| split(data, &mut steps)) {
                let metric = metric.clone();
                let data = Some(data);
                splitter.add(step, i, Metric { data, ..metric });
            }
        }
    }
    splitter.finish().map(|(_, resource)| resource).collect()
}

/// Assigns each point to a step of the sequence, in order of time.
///
/// A step ends before the second point of any stream. Each step is thus later than the one
/// before, which the order of its `target_info` samples requires too.
fn assign(resource: &ResourceMetrics) -> Vec<usize> {
    let mut points = Vec::new();
    let prefix = Prefix::of_resource(resource.resource.as_ref());
    for scope in &resource.scope_metrics {
        let prefix = prefix.scope(scope.scope.as_ref());
        for metric in &scope.metrics {
            let prefix = prefix.metric(metric);
            points::for_each(metric, |point| {
                let stream = prefix.point(point.attributes());
                points.push((point.time(), points.len(), stream));
            });
        }
    }
    points.sort_by_key(|(time, place, _)| (*time, *place));
    let (mut steps, mut step) = (vec![0; points.len()], 0);
    let mut seen = HashSet::new();
    for (_, place, stream) in points {
        if !seen.insert(stream) && step + 1 < MAX_STEPS {
            step += 1;
            seen = HashSet::from([stream]);
        }
        steps[place] = step;
    }
    steps
}

/// Returns false if every stream certainly has one point. Returns true if a metric has
/// points of different times or occurs twice.
fn may_repeat_a_stream(resource: &ResourceMetrics) -> bool {
    let mut names = HashSet::new();
    let scopes = resource.scope_metrics.iter();
    let mut metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics.any(|metric| {
        let (mut first, mut several) = (None, false);
        points::for_each(metric, |point| {
            several |= *first.get_or_insert(point.time()) != point.time();
        });
        several || !names.insert(metric.name.as_str())
    })
}

/// Groups the points of a metric by step. `next` yields the step of each point.
fn split(data: Data, next: &mut impl Iterator<Item = usize>) -> Vec<(usize, Data)> {
    match data {
        Data::Gauge(gauge) => by_step(gauge.data_points, next, |data_points| {
            Data::Gauge(Gauge { data_points })
        }),
        Data::Sum(sum) => by_step(sum.data_points, next, |data_points| {
            Data::Sum(Sum { data_points, ..sum })
        }),
        Data::Histogram(data) => by_step(data.data_points, next, |data_points| {
            Data::Histogram(Histogram {
                data_points,
                ..data
            })
        }),
        Data::ExponentialHistogram(data) => by_step(data.data_points, next, |data_points| {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points,
                ..data
            })
        }),
        Data::Summary(data) => by_step(data.data_points, next, |data_points| {
            Data::Summary(Summary { data_points })
        }),
    }
}

fn by_step<P>(
    points: Vec<P>,
    next: &mut impl Iterator<Item = usize>,
    data: impl Fn(Vec<P>) -> Data,
) -> Vec<(usize, Data)> {
    let mut steps: BTreeMap<usize, Vec<P>> = BTreeMap::new();
    for (point, step) in points.into_iter().zip(next) {
        steps.entry(step).or_default().push(point);
    }
    let steps = steps.into_iter();
    steps.map(|(step, points)| (step, data(points))).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value::Value},
        metrics::v1::{NumberDataPoint, ScopeMetrics},
    };

    use super::*;

    fn metric(name: &str, points: &[(&str, u64)]) -> Metric {
        let point = |(value, time): &(&str, u64)| NumberDataPoint {
            attributes: vec![KeyValue {
                key: "a".to_owned(),
                value: Some(AnyValue {
                    value: Some(Value::StringValue((*value).to_owned())),
                }),
                ..Default::default()
            }],
            time_unix_nano: *time,
            ..Default::default()
        };
        let data = Sum {
            data_points: points.iter().map(point).collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        };
        Metric {
            name: name.to_owned(),
            data: Some(Data::Sum(data)),
            ..Default::default()
        }
    }

    /// Names and times of the metrics in each step.
    fn split_all(metrics: Vec<Metric>) -> Vec<Vec<(String, Vec<u64>)>> {
        let scope = ScopeMetrics {
            metrics,
            ..Default::default()
        };
        let mut resource = ResourceMetrics {
            scope_metrics: vec![scope],
            schema_url: "url".to_owned(),
            ..Default::default()
        };
        let times = |metric: &Metric| {
            let mut times = Vec::new();
            points::for_each(metric, |point| times.push(point.time()));
            (metric.name.clone(), times)
        };
        let steps = into_sequence(&mut resource).into_iter().map(|step| {
            assert_eq!(step.schema_url, "url");
            step.scope_metrics[0].metrics.iter().map(times).collect()
        });
        steps.collect()
    }

    #[test]
    fn one_point_per_stream_makes_one_batch() {
        let m = metric("m", &[("x", 1), ("y", 1)]);
        let n = metric("n", &[("x", 2)]);
        let expected = vec![("m".to_owned(), vec![1, 1]), ("n".to_owned(), vec![2])];
        assert_eq!(split_all(vec![m, n]), [expected]);
        let later = metric("m", &[("x", 1), ("y", 2)]);
        assert_eq!(split_all(vec![later]), [[("m".to_owned(), vec![1, 2])]]);
    }

    #[test]
    fn splits_points_of_one_stream_in_order_of_time() {
        let m = metric("m", &[("x", 3), ("x", 1), ("y", 1)]);
        let (n, again) = (metric("n", &[("x", 2)]), metric("n", &[("x", 4)]));
        let first = vec![("m".to_owned(), vec![1, 1]), ("n".to_owned(), vec![2])];
        let second = vec![("m".to_owned(), vec![3]), ("n".to_owned(), vec![4])];
        assert_eq!(split_all(vec![m, n, again]), [first, second]);
    }

    #[test]
    fn a_step_is_never_earlier_than_the_one_before() {
        let m = metric("m", &[("x", 1), ("x", 2)]);
        let n = metric("n", &[("y", 5)]);
        let first = vec![("m".to_owned(), vec![1])];
        let second = vec![("m".to_owned(), vec![2]), ("n".to_owned(), vec![5])];
        assert_eq!(split_all(vec![m, n]), [first, second]);
    }

    #[test]
    fn limits_the_number_of_batches_without_loss() {
        let points: Vec<_> = (1..=250).map(|time| ("x", time)).collect();
        let steps = split_all(vec![metric("m", &points)]);
        assert_eq!(steps.len(), MAX_STEPS);
        assert_eq!(steps[MAX_STEPS - 1][0].1.len(), 250 - MAX_STEPS + 1);
    }
}
