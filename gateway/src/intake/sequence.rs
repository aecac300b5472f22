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
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, Metric, ResourceMetrics,
    ScopeMetrics, Sum, Summary, metric::Data,
};
use prost::Message;

use crate::{heads, points, push_error::PushError, stream::Prefix};

/// Parts of a resource with at most one point per stream each, in order of time.
///
/// Each part repeats the resource, its scopes and its metrics. They are copied part by part,
/// so that no more than one copy is in memory besides the encoded ones.
#[derive(Debug)]
pub(super) struct Sequence {
    /// The resource with its scopes and metrics, without points if there are several steps.
    resource: ResourceMetrics,
    /// Points of each step; empty if there is only one.
    steps: Vec<Vec<StepPoints>>,
}

/// Points of one metric in one step.
#[derive(Debug)]
struct StepPoints {
    /// Index of the scope.
    scope: usize,
    /// Index of the metric within the scope.
    metric: usize,
    data: Data,
}

/// Bytes to assign a point to a step: its place in a list while that grows and is sorted, its
/// stream in a set, and its step.
const ASSIGNED_BYTES: usize = 192;
/// Bytes of a data point while it moves to its step: the largest type.
const POINT_BYTES: usize = size_of::<ExponentialHistogramDataPoint>();
/// Bytes of a metric in a step, in addition to its points.
const STEP_BYTES: usize = size_of::<StepPoints>() + 64;
/// Bytes of a batch in the outbox and in the retry cache, in addition to its payload.
pub(super) const BATCH_BYTES: usize = 1024;

// === impl Sequence ===

impl Sequence {
    /// Splits a resource. `reserve` reserves the memory of the points and of the encoded
    /// copies before they are made.
    ///
    /// # Errors
    /// Returns the error of `reserve`.
    pub(super) fn new(
        resource: &mut ResourceMetrics,
        reserve: &mut impl FnMut(usize) -> Result<(), PushError>,
    ) -> Result<Self, PushError> {
        let mut sequence = Self {
            resource: mem::take(resource),
            steps: Vec::new(),
        };
        if !may_repeat_a_stream(&sequence.resource) {
            return Ok(sequence);
        }
        let points = points::count(&sequence.resource) as usize;
        reserve(points.saturating_mul(ASSIGNED_BYTES))?;
        let steps = assign(&sequence.resource);
        if steps.iter().all(|step| *step == 0) {
            return Ok(sequence);
        }
        reserve(split_bytes(&sequence.resource, &steps))?;
        sequence.split(steps);
        Ok(sequence)
    }

    /// Moves the points into their steps.
    fn split(&mut self, assigned: Vec<usize>) {
        let count = assigned.iter().max().map_or(0, |last| last + 1);
        self.steps = std::iter::repeat_with(Vec::new).take(count).collect();
        let mut assigned = assigned.into_iter();
        for (scope, of_scope) in self.resource.scope_metrics.iter_mut().enumerate() {
            for (metric, of_metric) in of_scope.metrics.iter_mut().enumerate() {
                let data = of_metric.data.take();
                for (step, data) in data.map_or_else(Vec::new, |data| split(data, &mut assigned)) {
                    self.steps[step].push(StepPoints {
                        scope,
                        metric,
                        data,
                    });
                }
            }
        }
    }

    /// Returns the parts, in order of time.
    pub(super) fn into_parts(self) -> impl Iterator<Item = ResourceMetrics> {
        let Self { resource, steps } = self;
        let (whole, bare) = match steps.is_empty() {
            true => (Some(resource), ResourceMetrics::default()),
            false => (None, resource),
        };
        let steps = steps.into_iter().map(move |step| part(&bare, step));
        whole.into_iter().chain(steps)
    }
}

/// Builds the part of one step. It has only the scopes and metrics that it has points of.
fn part(bare: &ResourceMetrics, step: Vec<StepPoints>) -> ResourceMetrics {
    let mut scopes: Vec<(usize, ScopeMetrics)> = Vec::new();
    for points in step {
        let from = &bare.scope_metrics[points.scope];
        if scopes
            .last()
            .is_none_or(|(scope, _)| *scope != points.scope)
        {
            let scope = ScopeMetrics {
                scope: from.scope.clone(),
                metrics: Vec::new(),
                schema_url: from.schema_url.clone(),
            };
            scopes.push((points.scope, scope));
        }
        if let Some((_, scope)) = scopes.last_mut() {
            scope.metrics.push(Metric {
                data: Some(points.data),
                ..from.metrics[points.metric].clone()
            });
        }
    }
    ResourceMetrics {
        resource: bare.resource.clone(),
        scope_metrics: scopes.into_iter().map(|(_, scope)| scope).collect(),
        schema_url: bare.schema_url.clone(),
    }
}

/// Bytes to split a resource: what the encoded batches repeat, which is the resource, scopes
/// and metrics without points; and the points of one metric while they move.
fn split_bytes(resource: &ResourceMetrics, steps: &[usize]) -> usize {
    let count = steps.iter().max().map_or(0, |last| last + 1);
    let own = resource.resource.as_ref().map_or(0, Message::encoded_len);
    let repeated = count.saturating_mul(own + resource.schema_url.len() + BATCH_BYTES);
    // One part at a time is a copy.
    let mut bytes = repeated.saturating_add(heads::bytes(resource));
    let mut steps = steps.iter();
    let mut largest = 0;
    for scope in &resource.scope_metrics {
        let head = scope.scope.as_ref().map_or(0, Message::encoded_len) + scope.schema_url.len();
        let mut of_scope: HashSet<&usize> = HashSet::new();
        for metric in &scope.metrics {
            let points = points::count_of(metric);
            largest = largest.max(points);
            let of_metric: HashSet<_> = steps.by_ref().take(points).collect();
            let head = STEP_BYTES
                + metric.name.len()
                + metric.description.len()
                + metric.unit.len()
                + metric
                    .metadata
                    .iter()
                    .map(Message::encoded_len)
                    .sum::<usize>();
            bytes = bytes.saturating_add(of_metric.len().saturating_mul(head));
            of_scope.extend(of_metric);
        }
        bytes = bytes.saturating_add(of_scope.len().saturating_mul(head));
    }
    bytes.saturating_add(largest.saturating_mul(POINT_BYTES))
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
        if !seen.insert(stream) {
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
        let points = steps.entry(step).or_insert_with(|| Vec::with_capacity(1));
        points.push(point);
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
        let sequence = Sequence::new(&mut resource, &mut |_| Ok(())).unwrap();
        let steps = sequence.into_parts().map(|step| {
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
    fn splits_thousands_of_points_of_one_stream() {
        let points: Vec<_> = (1..=3000).map(|time| ("x", time)).collect();
        let steps = split_all(vec![metric("m", &points)]);
        let times = steps.into_iter().map(|mut step| step.remove(0).1);
        assert!(times.eq((1..=3000).map(|time| vec![time])));
    }

    #[test]
    fn repeats_only_the_scopes_and_metrics_of_a_step() {
        let scope = |metrics| ScopeMetrics {
            metrics,
            ..Default::default()
        };
        let scopes = vec![
            scope(vec![
                metric("m", &[("x", 1)]),
                metric("n", &[("x", 2), ("x", 3)]),
            ]),
            scope(vec![metric("o", &[("x", 1)])]),
        ];
        let mut resource = ResourceMetrics {
            scope_metrics: scopes,
            ..Default::default()
        };
        let sequence = Sequence::new(&mut resource, &mut |_| Ok(())).unwrap();
        let parts: Vec<_> = sequence.into_parts().collect();
        let names = |part: &ResourceMetrics| {
            let scopes = part.scope_metrics.iter();
            let names =
                |scope: &ScopeMetrics| scope.metrics.iter().map(|m| m.name.clone()).collect();
            scopes.map(names).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(names(&parts[0]), [vec!["m", "n"], vec!["o"]]);
        assert_eq!(names(&parts[1]), [vec!["n"]]);
    }

    #[test]
    fn reserves_the_encoded_copies_before_it_makes_them() {
        let points: Vec<_> = (1..=100).map(|time| ("x", time)).collect();
        let mut large = metric("m", &points);
        large.description = "d".repeat(100_000);
        let mut resource = ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![large],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut reserved = 0;
        let mut reserve = |bytes| {
            reserved += bytes;
            Ok(())
        };
        let sequence = Sequence::new(&mut resource.clone(), &mut reserve).unwrap();
        let encoded: usize = sequence.into_parts().map(|part| part.encoded_len()).sum();
        assert!(encoded > 10_000_000 && reserved > encoded, "{reserved}");
        assert!(reserved < encoded + 100 * 4 * BATCH_BYTES, "{reserved}");
        let too_large = || PushError::TooLarge {
            limit: 0,
            stage: "",
        };
        let mut refuse = |bytes: usize| match bytes > 1_000_000 {
            true => Err(too_large()),
            false => Ok(()),
        };
        let refused = Sequence::new(&mut resource, &mut refuse);
        assert_eq!(refused.unwrap_err(), too_large());
    }
}
