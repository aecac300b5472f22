//! Checks of labels, symbol tables and edge cases.

use anyhow::{bail, ensure};

use super::protocol::check_symbols;
use crate::case::Case;

pub(crate) fn check(group: &str, name: &str, case: &Case) -> anyhow::Result<()> {
    match group {
        "TestLabelValidation" => label(name, case),
        "TestSymbolTable" => symbol(name, case),
        _ => edge(name, case),
    }
}

fn label(name: &str, case: &Case) -> anyhow::Result<()> {
    let has = |labels: &[(&str, &str)]| case.expect_value("test_metric", labels, 42.0);
    match name {
        // `Case::expect_valid` checks order, uniqueness and names in every case.
        "label_lexicographic_ordering" => has(&[("aaa", "1"), ("bbb", "2"), ("zzz", "3")]),
        "no_duplicate_label_names" => has(&[("foo", "bar"), ("baz", "qux")]),
        "metric_name_label_present" => has(&[]),
        "label_names_not_empty" => has(&[("label", "value")]),
        "label_name_format_valid" => {
            has(&[("valid_label", "value"), ("another_1", "val2")])?;
            let legal = mesh_model::validation::is_valid_legacy_label_name;
            let mut names = case.series.iter().flat_map(|series| &series.labels);
            ensure!(names.all(|(name, _)| legal(name)), "an illegal label name");
            Ok(())
        }
        "metric_name_format_valid" => {
            case.expect_value("valid_metric_name:subsystem_total", &[], 42.0)
        }
        // A label with an empty value counts as missing.
        "label_values_may_be_empty" => {
            let labels = &case.find("test_metric", &[])?.labels;
            ensure!(labels.len() == 3, "{labels:?}");
            Ok(())
        }
        "many_labels_per_series" => {
            (1..=10).try_for_each(|i| has(&[(&format!("l{i}"), &format!("v{i}"))]))
        }
        "reserved_label_prefix" => {
            has(&[("normal", "value")])?;
            let mut names = case.series.iter().flat_map(|series| &series.labels);
            let reserved = |name: &str| name.starts_with("__") && name != "__name__";
            ensure!(!names.any(|(name, _)| reserved(name)), "a reserved label");
            Ok(())
        }
        "special_chars_in_label_values" => {
            has(&[("path", "/api/v1/users"), ("query", "foo=bar&baz=qux")])
        }
        "unicode_in_label_values" => has(&[("emoji", "🚀"), ("chinese", "测试")]),
        "very_long_label_names" => {
            let long = "very_long_label_name_that_exceeds_normal_length_but_is_still_valid";
            has(&[(long, "value")])
        }
        "very_long_label_values" => {
            let value = case.find("test_metric", &[])?.label("description");
            ensure!(
                value.starts_with("This is a very long label value"),
                "{value}"
            );
            Ok(())
        }
        _ => bail!("the case has no check"),
    }
}

fn symbol(name: &str, case: &Case) -> anyhow::Result<()> {
    for request in &case.requests {
        let first = request.v2()?.symbols.into_iter().next();
        ensure!(
            first.as_deref() == Some(""),
            "the first symbol is {first:?}"
        );
        check_symbols(request)?;
    }
    match name {
        "empty_string_at_index_zero" => case.expect_value("test_metric", &[], 42.0),
        // Resolving the references has proved that they are valid and in pairs.
        "labels_refs_even_length" | "labels_refs_valid_indices" => {
            case.expect_value("test_metric", &[("label", "value")], 42.0)
        }
        // Of two lines for one series, the first is stored, as in Prometheus.
        "string_deduplication" => {
            case.expect_value("test_metric", &[("foo", "bar"), ("baz", "qux")], 1.0)?;
            case.expect_value("another_metric", &[("foo", "bar")], 3.0)
        }
        _ => bail!("the case has no check"),
    }
}

fn edge(name: &str, case: &Case) -> anyhow::Result<()> {
    match name {
        "empty_scrape" => {
            ensure!(case.exposed_len() == 0, "an empty body has series");
            case.expect_value("up", &[], 1.0)
        }
        // These bodies are invalid. Own cases cover the requirement.
        "future_timestamp" | "high_cardinality" | "many_timeseries" | "stale_marker" => {
            case.expect_down()
        }
        "huge_label_values" => {
            let len = case.find("test_metric", &[])?.label("large_label").len();
            ensure!(len >= 10_000, "{len} bytes");
            Ok(())
        }
        "metric_name_with_colons" => case.expect_value("http:request:duration:seconds", &[], 0.5),
        "mixed_sample_and_histogram_families" => {
            case.expect_value("requests_total", &[], 100.0)?;
            case.expect_value("temperature_celsius", &[], 22.5)?;
            case.expect_value("response_time_bucket", &[("le", "0.1")], 50.0)?;
            case.expect_value("response_time_bucket", &[("le", "+Inf")], 100.0)?;
            case.expect_value("rpc_duration", &[("quantile", "0.9")], 0.1)?;
            case.expect_value("rpc_duration_count", &[], 1000.0)
        }
        "special_float_combinations" => {
            let is = |kind, value| case.expect_value("special_values", &[("type", kind)], value);
            let nan = case.find("special_values", &[("type", "nan")])?.value();
            // The canonical NaN, which is not the staleness marker.
            let bits = nan.map(f64::to_bits);
            ensure!(bits == Some(0x7ff8_0000_0000_0001), "{bits:x?}");
            is("inf", f64::INFINITY)?;
            is("ninf", f64::NEG_INFINITY)?;
            is("zero", 0.0)?;
            is("negative", -123.45)
        }
        "unicode_in_labels" => {
            let labels = [
                ("emoji", "🚀"),
                ("arabic", "مرحبا"),
                ("vietnamese", "tôi yêu việt nam"),
            ];
            case.expect_value("test_metric", &labels, 42.0)
        }
        "very_long_metric_name" => {
            let long = |name: &str| name.starts_with("metric_very_long_name") && name.len() > 200;
            ensure!(
                case.exposed().any(|series| long(series.name())),
                "the metric is missing"
            );
            Ok(())
        }
        // Too old for any storage. Prometheus would not send it either.
        "zero_timestamp" => {
            ensure!(case.exposed_len() == 0, "a sample of 1970");
            case.expect_value("up", &[], 1.0)
        }
        _ => bail!("the case has no check"),
    }
}
