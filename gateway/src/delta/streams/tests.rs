use clap::Parser;
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, NumberDataPoint, number_data_point::Value,
};

use super::*;
use crate::stream::Prefix;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    args: DeltaArgs,
}

fn streams(flags: &[&str]) -> Streams {
    let flags = std::iter::once("test").chain(flags.iter().copied());
    Streams::new(&Only::parse_from(flags).args, DeltaMetrics::default())
}

fn stream(name: &str) -> StreamId {
    let metric = opentelemetry_proto::tonic::metrics::v1::Metric {
        name: name.to_owned(),
        ..Default::default()
    };
    Prefix::of_resource(None).metric(&metric).point(&[])
}

fn number(start: u64, time: u64, value: i64) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(Value::AsInt(value)),
        ..Default::default()
    }
}

/// Start, time and total of the cumulative point, or the reason for its absence.
type Out = Result<(u64, u64, i64), &'static str>;

fn add(streams: &mut Streams, (start, time, value): (u64, u64, i64)) -> Out {
    let added = streams.add(stream("a"), number(start, time, value), true);
    match added {
        Added::Counted(point) | Added::Repeated(Some(point)) => {
            let Some(Value::AsInt(total)) = point.value else {
                panic!("{point:?}")
            };
            Ok((point.start_time_unix_nano, point.time_unix_nano, total))
        }
        Added::Repeated(None) => Err("repeated"),
        Added::Rejected(reason, _) => Err(reason.as_str()),
    }
}

#[tokio::test(start_paused = true)]
async fn adds_deltas_as_the_collector_does() {
    let mut streams = streams(&[]);
    let cases = [
        ((10, 20, 1), Ok((10, 20, 1))),
        ((20, 30, 2), Ok((10, 30, 3))),
        // Sent again: the same total, once.
        ((20, 30, 2), Ok((10, 30, 3))),
        // A gap, and an overlap.
        ((40, 50, 3), Ok((10, 50, 6))),
        ((45, 60, 4), Ok((10, 60, 10))),
        // Sent again after later deltas: counted already, and too old to be written.
        ((20, 30, 2), Err("repeated")),
        // Ends before the last delta, at the same time, and starts before the stream.
        ((30, 35, 9), Err("out_of_order")),
        ((50, 60, 9), Err("out_of_order")),
        ((5, 70, 9), Err("out_of_order")),
        // A missing start time is accepted.
        ((0, 80, 5), Ok((10, 80, 15))),
        ((80, 90, i64::MAX), Ok((80, 90, i64::MAX))),
        ((90, 100, -1), Err("malformed")),
    ];
    for (delta, expected) in cases {
        assert_eq!(add(&mut streams, delta), expected, "{delta:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_stream_starts_a_new_total() {
    let mut streams = streams(&["--delta.max-age=300"]);
    assert_eq!(add(&mut streams, (10, 20, 1)), Ok((10, 20, 1)));
    tokio::time::advance(Duration::from_secs(299)).await;
    streams.sweep();
    assert_eq!(add(&mut streams, (20, 30, 1)), Ok((10, 30, 2)));
    tokio::time::advance(Duration::from_secs(311)).await;
    streams.sweep();
    assert_eq!(streams.bytes, 0);
    assert_eq!(add(&mut streams, (40, 50, 1)), Ok((40, 50, 1)));
    // A stream that another gateway owned in between starts a new total too.
    streams.retain_owned(|_| false);
    assert_eq!(add(&mut streams, (60, 70, 1)), Ok((60, 70, 1)));
    // The first delta has no start time.
    streams.retain_owned(|_| false);
    assert_eq!(add(&mut streams, (0, 80, 7)), Ok((80, 80, 7)));
}

#[tokio::test]
async fn rejects_new_streams_beyond_the_limits() {
    for flag in ["--delta.max-streams=1", "--delta.max-bytes=1"] {
        let mut streams = streams(&[flag]);
        assert!(add(&mut streams, (10, 20, 1)).is_ok());
        let other = streams.add(stream("b"), number(10, 20, 1), true);
        assert!(
            matches!(other, Added::Rejected(Reason::DeltaStreamLimit, _)),
            "{flag} {other:?}"
        );
        // Known streams continue.
        assert!(add(&mut streams, (20, 30, 1)).is_ok());
    }
}

fn histogram(time: u64, bounds: &[f64], counts: &[u64], sum: Option<f64>) -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: time - 10,
        time_unix_nano: time,
        explicit_bounds: bounds.to_vec(),
        bucket_counts: counts.to_vec(),
        count: counts.iter().sum(),
        sum,
        ..Default::default()
    }
}

#[tokio::test]
async fn adds_histograms_bucket_by_bucket() {
    let mut streams = streams(&[]);
    let mut add = |delta: HistogramDataPoint| {
        let Added::Counted(point) = streams.add(stream("h"), delta, true) else {
            panic!("not counted")
        };
        (
            point.start_time_unix_nano,
            point.bucket_counts,
            point.count,
            point.sum,
        )
    };
    let one = histogram(20, &[1.0], &[1, 2], Some(3.0));
    assert_eq!(add(one), (10, vec![1, 2], 3, Some(3.0)));
    let two = histogram(30, &[1.0], &[10, 0], Some(0.5));
    assert_eq!(add(two), (10, vec![11, 2], 13, Some(3.5)));
    // A delta without a sum removes the sum of the total.
    let three = histogram(40, &[1.0], &[0, 1], None);
    assert_eq!(add(three), (10, vec![11, 3], 14, None));
    // Different bounds start a new total.
    let four = histogram(50, &[2.0, 3.0], &[1, 1, 1], Some(6.0));
    assert_eq!(add(four), (40, vec![1, 1, 1], 3, Some(6.0)));
}

#[tokio::test]
async fn rejects_deltas_that_would_spoil_the_total() {
    let mut streams = streams(&[]);
    let double = |value: f64| NumberDataPoint {
        value: Some(Value::AsDouble(value)),
        ..number(10, 20, 0)
    };
    for (value, monotonic, rejected) in [
        (f64::NAN, false, true),
        (f64::INFINITY, false, true),
        (-1.0, true, true),
        (-1.0, false, false),
    ] {
        let added = streams.add(stream("d"), double(value), monotonic);
        assert_eq!(matches!(added, Added::Rejected(..)), rejected, "{value}");
    }
    let sum = histogram(20, &[], &[1], Some(f64::NAN));
    let added = streams.add(stream("h"), sum, true);
    assert!(matches!(added, Added::Rejected(Reason::Malformed, _)));
}
