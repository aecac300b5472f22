//! Checks of batches, metadata, exemplars and histograms.

use anyhow::{Context, bail, ensure};
use proto::v2::metadata::MetricType;

use super::protocol::check_symbols;
use crate::case::Case;

pub(crate) fn check(group: &str, name: &str, case: &Case) -> anyhow::Result<()> {
    match group {
        "TestBatchingBehavior" => batching(name, case),
        "TestCombinedFeatures" => combined(name, case),
        "TestExemplarEncoding" => exemplar(name, case),
        "TestHistogramEncoding" => histogram(name, case),
        "TestMetadataEncoding" => metadata(name, case),
        _ => own(name, case),
    }
}

fn batching(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "batch_size_reasonable" => {
            ensure!(
                case.exposed_len() == 12_000,
                "{} series",
                case.exposed_len()
            );
            for request in &case.requests {
                let series = request.v2()?.timeseries.len();
                ensure!(
                    (1..=10_000).contains(&series),
                    "{series} series in a request"
                );
            }
            Ok(())
        }
        "efficient_symbol_reuse" => {
            ensure!(case.exposed_len() == 5, "{} series", case.exposed_len());
            case.requests.iter().try_for_each(check_symbols)
        }
        "handles_varying_cardinality" => {
            case.expect_value("low_cardinality_metric", &[], 42.0)?;
            case.expect_value("api_calls", &[("region", "ap-south")], 500.0)
        }
        "metadata_batching" => {
            has_type(case, "http_requests_total", MetricType::Counter)?;
            has_type(case, "memory_usage_bytes", MetricType::Gauge)
        }
        "multiple_series_per_request" => {
            let names = [
                "http_requests_total",
                "cpu_usage_percent",
                "memory_usage_bytes",
            ];
            let first = case.requests.first().context("no request")?.series()?;
            let has = |name: &&str| first.iter().any(|series| series.name() == *name);
            ensure!(names.iter().all(has), "not all in one request");
            Ok(())
        }
        _ => bail!("the case has no check"),
    }
}

fn combined(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "complete_metric_family" => {
            let family = "api_request_duration_seconds";
            for (le, count) in [
                ("0.1", 50.0),
                ("0.5", 150.0),
                ("1.0", 250.0),
                ("+Inf", 300.0),
            ] {
                case.expect_value(&format!("{family}_bucket"), &[("le", le)], count)?;
            }
            case.expect_value(&format!("{family}_sum"), &[], 200.5)?;
            case.expect_value(&format!("{family}_count"), &[], 300.0)
        }
        "high_cardinality_labels" => {
            ensure!(case.exposed_len() == 6, "{} series", case.exposed_len());
            Ok(())
        }
        "histogram_with_metadata_and_exemplars" => {
            let bucket = "request_duration_seconds_bucket";
            has_type(case, bucket, MetricType::Histogram)?;
            has_exemplar(
                case,
                bucket,
                &[("trace_id", "hist123")],
                0.05,
                1_234_567_890_000,
            )
        }
        "mixed_labels_and_metadata" => {
            ensure!(case.exposed_len() == 3, "{} series", case.exposed_len());
            let labels = [
                ("service", "users"),
                ("method", "GET"),
                ("endpoint", "/profile"),
            ];
            case.expect_value("api_calls_total", &labels, 2000.0)?;
            has_type(case, "api_calls_total", MetricType::Counter)
        }
        "multiple_metric_types" => {
            case.expect_value("process_cpu_seconds_total", &[], 123.45)?;
            case.expect_value("process_memory_bytes", &[], 1_048_576.0)?;
            case.expect_value("request_duration_seconds_bucket", &[("le", "+Inf")], 100.0)
        }
        "real_world_scenario" => {
            // The body exposes `up` too. As in Prometheus, its sample is stored, and the
            // scrape's own `up` with the same timestamp is not.
            ensure!(case.find("up", &[])?.value() == Some(1.0), "up");
            case.expect_value("process_cpu_seconds_total", &[], 45.67)?;
            case.expect_value(
                "http_request_duration_seconds_bucket",
                &[("le", "1.0")],
                480.0,
            )?;
            case.expect_value(
                "http_requests_total",
                &[("method", "GET"), ("code", "200")],
                5000.0,
            )
        }
        "samples_with_exemplars" => {
            let labels = [("span_id", "def456"), ("trace_id", "abc123")];
            has_exemplar(case, "request_count", &labels, 999.0, 1_234_567_890_123)
        }
        "samples_with_metadata" => {
            case.expect_value("http_requests_total", &[("method", "GET")], 1000.0)?;
            has_type(case, "http_requests_total", MetricType::Counter)?;
            has_help(case, "http_requests_total", "Total HTTP requests received")
        }
        _ => bail!("the case has no check"),
    }
}

fn exemplar(name: &str, case: &Case) -> anyhow::Result<()> {
    const AT: i64 = 1_234_567_890_000;
    let counter = |labels: &[(&str, &str)], value, time| {
        has_exemplar(case, "test_counter", labels, value, time)
    };
    match name {
        "exemplar_custom_labels" => counter(
            &[("request_id", "req456"), ("user_id", "user123")],
            49.0,
            AT,
        ),
        "exemplar_labels_even_length" => counter(&[("trace_id", "test")], 99.0, AT),
        "exemplar_labels_valid_refs" => {
            has_exemplar(case, "test_metric", &[("trace_id", "xyz")], 99.0, AT)
        }
        "exemplar_timestamp_valid" => counter(&[("trace_id", "test123")], 99.0, AT + 123),
        "exemplar_value_valid" => counter(&[("trace_id", "test123")], 99.5, AT),
        "exemplar_on_histogram" => {
            let labels = [("trace_id", "hist123")];
            has_exemplar(case, "request_duration_bucket", &labels, 0.05, AT)
        }
        "exemplar_with_span_id" => {
            let labels = [("span_id", "def456"), ("trace_id", "abc123")];
            has_exemplar(case, "http_requests_total", &labels, 999.0, AT + 500)
        }
        "exemplar_with_trace_id" => {
            let bucket = "http_request_duration_seconds_bucket";
            has_exemplar(case, bucket, &[("trace_id", "abc123xyz")], 0.05, AT + 123)
        }
        "multiple_exemplars_per_series" => {
            let bucket = "test_histogram_bucket";
            has_exemplar(case, bucket, &[("trace_id", "ex1")], 0.05, AT)?;
            has_exemplar(case, bucket, &[("trace_id", "ex2")], 0.3, AT + 1000)
        }
        _ => bail!("the case has no check"),
    }
}

fn histogram(name: &str, case: &Case) -> anyhow::Result<()> {
    let is =
        |suffix: &str, value| case.expect_value(&format!("test_histogram_{suffix}"), &[], value);
    match name {
        "histogram_buckets_ordered" => {
            let buckets = case.series.iter().filter(|s| s.name().ends_with("_bucket"));
            let order: Vec<_> = buckets.take(5).map(|s| s.label("le")).collect();
            ensure!(order == ["0.1", "0.5", "1.0", "5.0", "+Inf"], "{order:?}");
            Ok(())
        }
        "histogram_empty_buckets" => {
            is("count", 0.0)?;
            case.expect_value("test_histogram_bucket", &[("le", "+Inf")], 0.0)
        }
        "histogram_large_counts" => {
            is("count", 1e9)?;
            is("sum", 5e9)
        }
        "native_histogram_structure" => {
            for (le, count) in [("1.0", 2.0), ("5.0", 7.0), ("+Inf", 10.0)] {
                case.expect_value("test_histogram_bucket", &[("le", le)], count)?;
            }
            is("sum", 25.5)
        }
        "histogram_positive_buckets" => {
            case.expect_value("test_native_histogram_count", &[], 100.0)
        }
        // The suite's text format cannot express native histograms. The tests of the encoder
        // cover them. Here the whole family has to arrive.
        "histogram_negative_buckets" => is("sum", -25.0),
        "histogram_zero_bucket" => is("sum", 0.0),
        "histogram_schema" => is("sum", 500.0),
        "histogram_count_present" | "histogram_no_mixed_with_samples" => is("count", 100.0),
        "histogram_sum_present" => is("sum", 250.5),
        "histogram_timestamp" => {
            is("count", 100.0)?;
            is("sum", 250.0)
        }
        _ => bail!("the case has no check"),
    }
}

fn metadata(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "metadata_consistent_across_series" => {
            let all: Vec<_> = case.exposed().map(|series| &series.metadata).collect();
            ensure!(all.len() >= 2, "{} series", all.len());
            ensure!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
            has_type(case, "http_requests_total", MetricType::Counter)
        }
        "metadata_empty_help_allowed" => {
            has_type(case, "no_help_metric", MetricType::Counter)?;
            has_help(case, "no_help_metric", "")
        }
        "metadata_help_refs_valid" => has_help(case, "test_metric", "Test metric description"),
        "metadata_help_text" => has_help(
            case,
            "http_requests_total",
            "The total number of HTTP requests",
        ),
        // The last of several HELP lines counts.
        "metadata_help_with_newlines" => {
            has_help(case, "multiline_metric", "that spans multiple lines")
        }
        "metadata_help_with_special_chars" => {
            let help = "This help contains \"quotes\" and \\backslashes\\";
            has_help(case, "special_metric", help)
        }
        "metadata_type_counter" => has_type(case, "http_requests_total", MetricType::Counter),
        "metadata_type_gauge" => has_type(case, "memory_usage_bytes", MetricType::Gauge),
        "metadata_type_histogram" => {
            let bucket = "request_duration_seconds_bucket";
            has_type(case, bucket, MetricType::Histogram)
        }
        "metadata_type_summary" => has_type(case, "rpc_duration_seconds", MetricType::Summary),
        // UNIT belongs to OpenMetrics. In the text format the line is a comment.
        "metadata_unit" => {
            has_type(case, "memory_usage_bytes", MetricType::Gauge)?;
            has_help(case, "memory_usage_bytes", "Memory usage")
        }
        _ => bail!("the case has no check"),
    }
}

fn own(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "many_timeseries" => {
            ensure!(case.exposed_len() == 1000, "{} series", case.exposed_len());
            case.expect_value("metric_999", &[], 999.0)
        }
        "high_cardinality" => {
            ensure!(case.exposed_len() == 100, "{} series", case.exposed_len());
            case.expect_value("http_requests", &[("path", "/99")], 99.0)
        }
        "help_with_newlines" => has_help(case, "m", "one\ntwo \\ three"),
        "future_timestamp" => case.expect_value("test_metric", &[], 42.0),
        _ => bail!("the case has no check"),
    }
}

fn has_type(case: &Case, name: &str, want: MetricType) -> anyhow::Result<()> {
    let metadata = case.find(name, &[])?.metadata.as_ref();
    let found = metadata.map(|(metric_type, _, _)| *metric_type);
    ensure!(
        found == Some(want),
        "{name} is {found:?}, expected {want:?}"
    );
    Ok(())
}

fn has_help(case: &Case, name: &str, want: &str) -> anyhow::Result<()> {
    let metadata = case.find(name, &[])?.metadata.as_ref();
    let found = metadata.map(|(_, help, _)| help.as_str());
    ensure!(
        found == Some(want),
        "HELP of {name} is {found:?}, expected {want:?}"
    );
    Ok(())
}

/// Checks that the metric has an exemplar with these labels, which must be sorted.
fn has_exemplar(
    case: &Case,
    name: &str,
    labels: &[(&str, &str)],
    value: f64,
    time: i64,
) -> anyhow::Result<()> {
    let series = case.series.iter().filter(|series| series.name() == name);
    let all: Vec<_> = series.flat_map(|series| &series.exemplars).collect();
    let wanted = all.iter().any(|(found, at, when)| {
        let mut found: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        found.sort_unstable();
        found == labels && *at == value && *when == time
    });
    ensure!(wanted, "{name} has the exemplars {all:?}");
    Ok(())
}
