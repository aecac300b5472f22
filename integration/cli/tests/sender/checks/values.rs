//! Checks of sample values and timestamps.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};

use crate::case::Case;

pub(crate) fn check(name: &str, case: &Case) -> anyhow::Result<()> {
    check_times(case)?;
    let is = |name: &str, value: f64| case.expect_value(name, &[], value);
    match name {
        "float_value_encoding" => is("test_metric", 123.45),
        "integer_value_encoding" | "timestamp_int64_milliseconds" => is("test_counter_total", 42.0),
        "job_instance_labels_present" => {
            let series = case.find("test_metric", &[("job", "test")])?;
            ensure!(
                series.label("instance").starts_with("127.0.0.1:"),
                "instance"
            );
            Ok(())
        }
        "large_float_values" => is("test_large", f64::MAX),
        "multiple_samples_same_series" => {
            is("test_counter_total", 100.0)?;
            let samples = case.exposed().filter(|s| s.name() == "test_counter_total");
            ensure!(samples.count() >= 2, "one sample for two scrapes");
            Ok(())
        }
        "nan_encoding" => is("test_gauge", f64::from_bits(0x7ff8_0000_0000_0001)),
        "negative_infinity_encoding" => is("test_gauge", f64::NEG_INFINITY),
        "negative_value_encoding" => is("temperature_celsius", -15.5),
        "positive_infinity_encoding" => is("test_gauge", f64::INFINITY),
        "precision_preservation" => is("test_precision", 0.123_456_789_012_345),
        "scientific_notation" => is("test_scientific", 1.23e-4),
        "small_float_values" => is("test_small", f64::MIN_POSITIVE),
        "zero_value_encoding" => is("test_gauge", 0.0),
        "timestamp_ordering_within_series" => ["metric_a", "metric_b", "metric_c"]
            .iter()
            .try_for_each(|name| case.find(name, &[]).map(drop)),
        ""
        | "timestamp_milliseconds_format"
        | "timestamp_recent"
        | "timestamp_precision"
        | "timestamp_future_values" => is("test_metric", 42.0),
        "start_timestamp_before_sample_timestamp" | "start_timestamp_for_counters" => {
            is("test_counter_total", 100.0)
        }
        // Without a known start time, the start timestamp is 0.
        "start_timestamp_zero_handling" => {
            let series = case.find("test_counter_total", &[])?;
            ensure!(series.starts == [0], "{:?}", series.starts);
            Ok(())
        }
        "start_timestamp_for_histograms" => is("test_histogram_count", 100.0),
        _ => bail!("the case has no check"),
    }
}

/// Checks that timestamps are current, in milliseconds, ascending, and not before their start
/// timestamps.
fn check_times(case: &Case) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let mut last = std::collections::HashMap::new();
    for series in &case.series {
        for time in series.times() {
            ensure!(
                (now - 300_000..=now).contains(&time),
                "{time} is not within 5 minutes before now"
            );
            let before = last.insert(&series.labels, time);
            ensure!(before < Some(time), "{time} after {before:?}");
        }
        let starts = series.starts.iter().zip(&series.samples);
        for (start, (_, time)) in starts {
            ensure!(start <= time, "a start after its sample");
        }
    }
    Ok(())
}
