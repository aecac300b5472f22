use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use proptest::prelude::*;

use super::*;
use crate::delta::{point::DeltaPoint, total::Total};

/// Histogram of `values` at `scale`, counted one by one.
fn observed(scale: i32, values: &[f64]) -> ExponentialHistogramDataPoint {
    let mut point = ExponentialHistogramDataPoint {
        scale,
        count: values.len() as u64,
        sum: Some(values.iter().sum()),
        ..Default::default()
    };
    let index = |value: f64| (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1;
    let side = |values: Vec<f64>| {
        let indices: Vec<_> = values.into_iter().map(index).collect();
        let offset = indices.iter().min().copied()?;
        let mut buckets = Buckets {
            offset,
            bucket_counts: Vec::new(),
        };
        for index in indices {
            let at = (index - offset) as usize;
            let counts = &mut buckets.bucket_counts;
            counts.resize(counts.len().max(at + 1), 0);
            counts[at] += 1;
        }
        Some(buckets)
    };
    point.positive = side(values.iter().copied().filter(|v| *v > 0.0).collect());
    point.negative = side(values.iter().filter(|v| **v < 0.0).map(|v| -v).collect());
    point.zero_count = values.iter().filter(|v| **v == 0.0).count() as u64;
    point
}

fn total(points: &[ExponentialHistogramDataPoint]) -> Exponential {
    let mut total = points[0].to_total();
    for point in &points[1..] {
        assert!(point.add_to(&mut total));
    }
    let Total::Exponential(total) = total else {
        unreachable!()
    };
    total
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    // Avoids exact powers of two: they fall on bounds, where rounding decides the index.
    let value = prop_oneof![
        (1u32..1_000_000).prop_map(|n| f64::from(n) * 0.7),
        (1u32..1_000_000).prop_map(|n| f64::from(n) * -0.0013),
        Just(0.0),
    ];
    proptest::collection::vec(value, 1..40)
}

proptest! {
    /// The sum of histograms equals one histogram of all values at the resulting scale.
    #[test]
    fn the_total_equals_the_histogram_of_all_values(
        deltas in proptest::collection::vec((values(), -2i32..6), 1..5),
    ) {
        let points: Vec<_> = deltas.iter().map(|(values, scale)| observed(*scale, values)).collect();
        let total = total(&points);
        let all: Vec<_> = deltas.iter().flat_map(|(values, _)| values.clone()).collect();
        let scale = total.scale;
        prop_assert!(scale <= deltas.iter().map(|(_, scale)| *scale).min().unwrap());
        let expected = Exponential::from_point(&observed(scale, &all));
        prop_assert_eq!(expected.scale, scale, "no coarser than it has to be");
        prop_assert_eq!(&total.positive, &expected.positive);
        prop_assert_eq!(&total.negative, &expected.negative);
        prop_assert_eq!((total.zero_count, total.count), (expected.zero_count, expected.count));
        prop_assert!(total.positive.len() <= MAX_BUCKETS && total.negative.len() <= MAX_BUCKETS);
    }
}

#[test]
fn a_wide_total_loses_resolution_but_no_observations() {
    let total = total(&[observed(5, &[1e-9]), observed(5, &[1e9])]);
    assert!(total.scale < 5 && total.positive.len() <= MAX_BUCKETS);
    let counted: u64 = total.positive.to_proto().bucket_counts.iter().sum();
    assert_eq!(counted, 2);
}

#[test]
fn buckets_below_a_wider_zero_threshold_count_as_zero() {
    let mut wide = observed(0, &[0.0, 100.0]);
    wide.zero_threshold = 3.0;
    let total = total(&[observed(0, &[1.5, 3.5, 30.0, -1.5]), wide]);
    // (1, 2] and (2, 4] start below 3, so the zero threshold becomes 4.
    assert_eq!((total.zero_count, total.zero_threshold), (4, 4.0));
    let positive: u64 = total.positive.to_proto().bucket_counts.iter().sum();
    assert_eq!((positive, total.count), (2, 6));
}

#[test]
fn rejects_buckets_beyond_the_range_of_a_double() {
    let with = |scale: i32, threshold: f64, offset: i32| {
        let point = ExponentialHistogramDataPoint {
            scale,
            zero_threshold: threshold,
            positive: Some(Buckets {
                offset,
                bucket_counts: vec![1],
            }),
            ..Default::default()
        };
        point.problem(true).map(|(reason, _)| reason)
    };
    assert_eq!(with(20, 0.0, 1 << 30), None);
    for (scale, threshold, offset) in [
        (21, 0.0, 0),
        (-11, 0.0, 0),
        (0, -1.0, 0),
        (0, f64::NAN, 0),
        (0, 0.0, i32::MAX),
        (0, 0.0, i32::MIN),
    ] {
        let reason = with(scale, threshold, offset);
        assert_eq!(
            reason,
            Some(Reason::InvalidHistogram),
            "{scale} {threshold} {offset}"
        );
    }
}
