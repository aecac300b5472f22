//! A push with several points of one stream becomes several batches.
//!
//! A backend that takes samples in order only has the first point of a stream for out
//! of order once it has the second. Were both in one batch it could not be sent again
//! (law 2); as batches of their own, one after another, each can.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
};

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, Sum, Summary, metric::Data,
};

use crate::{
    delta::{skeleton::Skeleton, stream::Prefix},
    points,
};

/// Batches of one resource at most; the rest is in the last one, of which an exporter
/// takes as much as it may.
const MAX_ROUNDS: usize = 100;

/// The resource in parts, in the order of time: each stream has one point in each.
pub(super) fn rounds(resource: &mut ResourceMetrics) -> Vec<ResourceMetrics> {
    if !has_several(resource) {
        return vec![mem::take(resource)];
    }
    let rounds = assign(resource);
    if rounds.iter().all(|round| *round == 0) {
        return vec![mem::take(resource)];
    }
    let (mut skeleton, mut rounds) = (Skeleton::new(resource), rounds.into_iter());
    for (i, scope) in resource.scope_metrics.iter_mut().enumerate() {
        for mut metric in mem::take(&mut scope.metrics) {
            let data = metric.data.take();
            for (round, data) in data.map_or_else(Vec::new, |data| split(data, &mut rounds)) {
                let metric = metric.clone();
                let data = Some(data);
                skeleton.add(round, i, Metric { data, ..metric });
            }
        }
    }
    skeleton.finish().map(|(_, resource)| resource).collect()
}

/// The round of each point. One begins where a stream comes up for the second time, so
/// that each is later than the one before, as its `target_info` has to be.
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
    let (mut rounds, mut round) = (vec![0; points.len()], 0);
    let mut seen = HashSet::new();
    for (_, place, stream) in points {
        if !seen.insert(stream) && round + 1 < MAX_ROUNDS {
            round += 1;
            seen = HashSet::from([stream]);
        }
        rounds[place] = round;
    }
    rounds
}

/// Whether a stream may have several points: a metric has some of several times, or
/// comes up again.
fn has_several(resource: &ResourceMetrics) -> bool {
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

/// The points of a metric by their rounds, which are the next of `next`.
fn split(data: Data, next: &mut impl Iterator<Item = usize>) -> Vec<(usize, Data)> {
    match data {
        Data::Gauge(gauge) => by_round(gauge.data_points, next, |data_points| {
            Data::Gauge(Gauge { data_points })
        }),
        Data::Sum(sum) => by_round(sum.data_points, next, |data_points| {
            Data::Sum(Sum { data_points, ..sum })
        }),
        Data::Histogram(data) => by_round(data.data_points, next, |data_points| {
            Data::Histogram(Histogram {
                data_points,
                ..data
            })
        }),
        Data::ExponentialHistogram(data) => by_round(data.data_points, next, |data_points| {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points,
                ..data
            })
        }),
        Data::Summary(data) => by_round(data.data_points, next, |data_points| {
            Data::Summary(Summary { data_points })
        }),
    }
}

fn by_round<P>(
    points: Vec<P>,
    next: &mut impl Iterator<Item = usize>,
    data: impl Fn(Vec<P>) -> Data,
) -> Vec<(usize, Data)> {
    let mut rounds: BTreeMap<usize, Vec<P>> = BTreeMap::new();
    for (point, round) in points.into_iter().zip(next) {
        rounds.entry(round).or_default().push(point);
    }
    let rounds = rounds.into_iter();
    rounds
        .map(|(round, points)| (round, data(points)))
        .collect()
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

    /// The names and times in each round.
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
        let rounds = rounds(&mut resource).into_iter().map(|round| {
            assert_eq!(round.schema_url, "url");
            round.scope_metrics[0].metrics.iter().map(times).collect()
        });
        rounds.collect()
    }

    #[test]
    fn one_point_a_stream_is_one_batch() {
        let m = metric("m", &[("x", 1), ("y", 1)]);
        let n = metric("n", &[("x", 2)]);
        let expected = vec![("m".to_owned(), vec![1, 1]), ("n".to_owned(), vec![2])];
        assert_eq!(split_all(vec![m, n]), [expected]);
        let later = metric("m", &[("x", 1), ("y", 2)]);
        assert_eq!(split_all(vec![later]), [[("m".to_owned(), vec![1, 2])]]);
    }

    #[test]
    fn points_of_one_stream_follow_each_other() {
        let m = metric("m", &[("x", 3), ("x", 1), ("y", 1)]);
        let (n, again) = (metric("n", &[("x", 2)]), metric("n", &[("x", 4)]));
        let first = vec![("m".to_owned(), vec![1, 1]), ("n".to_owned(), vec![2])];
        let second = vec![("m".to_owned(), vec![3]), ("n".to_owned(), vec![4])];
        assert_eq!(split_all(vec![m, n, again]), [first, second]);
    }

    #[test]
    fn a_round_is_not_earlier_than_the_one_before() {
        let m = metric("m", &[("x", 1), ("x", 2)]);
        let n = metric("n", &[("y", 5)]);
        let first = vec![("m".to_owned(), vec![1])];
        let second = vec![("m".to_owned(), vec![2]), ("n".to_owned(), vec![5])];
        assert_eq!(split_all(vec![m, n]), [first, second]);
    }

    #[test]
    fn rounds_are_bounded_and_nothing_is_lost() {
        let points: Vec<_> = (1..=250).map(|time| ("x", time)).collect();
        let rounds = split_all(vec![metric("m", &points)]);
        assert_eq!(rounds.len(), MAX_ROUNDS);
        assert_eq!(rounds[MAX_ROUNDS - 1][0].1.len(), 250 - MAX_ROUNDS + 1);
    }
}
