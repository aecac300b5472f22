//! Names of OTLP metrics, labels and units. The cases are those of the library that
//! Prometheus uses.

use std::path::Path;

use exporter_svc::translate::name::{Kind, Namer, unit};
use mesh_model::config::remote_write::{OtlpConfig, TranslationStrategy as Strategy};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint, metric::Data,
    number_data_point,
};
use serde_json::Value;

use super::{Report, cases, otlp_prw};

/// Cases with a namespace, which promesh does not support.
const NAMESPACES: [&str; 6] = [
    "metric with namespace without suffixes",
    "namespace with special characters",
    "metric with namespace and suffixes",
    "metric starting with digit with namespace and suffixes",
    "utf8 metric with namespace without suffixes",
    "utf8 metric with namespace and suffixes",
];

/// Reason for the exemption.
const NO_NAMESPACE: &str = "the configuration file has no namespace, as in Prometheus";

pub(super) fn metrics(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    for case in cases::list(&document["metric_names"]) {
        let name = cases::text(&case["case"]);
        let namespace = case["namespace"] != "" && NAMESPACES.contains(&name);
        report.case_unless_exempt(name, namespace.then_some(NO_NAMESPACE), || {
            let want = case["want_error"].is_null().then_some(&case["want"]);
            let made = metric(case);
            if made.as_deref().ok() == want.and_then(Value::as_str) {
                Ok(())
            } else {
                Err(format!("made {made:?}, expected {want:?}"))
            }
        });
    }
    Ok(())
}

fn metric(case: &Value) -> Result<String, String> {
    let (utf8, suffixes) = (&case["utf8_allowed"], &case["with_suffixes"]);
    let namer = Namer::new(&OtlpConfig {
        translation_strategy: strategy(*utf8 == true, *suffixes == true),
        ..Default::default()
    });
    let kind = match cases::text(&case["type"]) {
        "gauge" => Kind::Gauge,
        "monotonic_counter" => Kind::Counter,
        _ => Kind::Other,
    };
    let made = namer.metric(cases::text(&case["name"]), cases::text(&case["unit"]), kind);
    made.map_err(|error| error.to_string())
}

fn strategy(utf8: bool, suffixes: bool) -> Strategy {
    match (utf8, suffixes) {
        (false, true) => Strategy::UnderscoreEscapingWithSuffixes,
        (false, false) => Strategy::UnderscoreEscapingWithoutSuffixes,
        (true, true) => Strategy::NoUtf8EscapingWithSuffixes,
        (true, false) => Strategy::NoTranslation,
    }
}

/// Compares the map of units, the map of rates, and the unit of each metric.
pub(super) fn units(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    for (from, to) in document["unit_map"].as_object().into_iter().flatten() {
        report.case(from, || cases::same(&unit(from).as_str(), &cases::text(to)));
    }
    for (from, to) in document["per_unit_map"].as_object().into_iter().flatten() {
        let (from, to) = (format!("x/{from}"), format!("x_per_{}", cases::text(to)));
        report.case(&from, || cases::same(&unit(&from), &to));
    }
    for case in cases::list(&document["metric_names"]) {
        if let Some(want) = case["want_unit"].as_str() {
            let from = cases::text(&case["unit"]);
            let id = format!("{} of {}", from, cases::text(&case["case"]));
            report.case(id, || cases::same(&unit(from).as_str(), &want));
        }
    }
    Ok(())
}

pub(super) fn labels(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let settings = [
        ("default", false, false, false),
        ("utf8_allowed", true, false, false),
        ("underscore_label_sanitization", false, true, false),
        ("preserve_multiple_underscores", false, false, true),
        ("preserve_and_sanitize", false, true, true),
    ];
    let document = document(suites)?;
    for case in cases::list(&document["label_names"]) {
        let label = cases::text(&case["label"]);
        for (setting, utf8, sanitize, preserve) in settings {
            report.case(format!("{label} {setting}"), || {
                let namer = Namer::new(&OtlpConfig {
                    translation_strategy: strategy(utf8, true),
                    label_name_underscore_sanitization: sanitize,
                    label_name_preserve_multiple_underscores: preserve,
                    ..Default::default()
                });
                let want = &case[setting];
                let want = want["error"].is_null().then(|| cases::text(&want["want"]));
                cases::same(&namer.label(label).as_deref().ok(), &want)
            });
        }
    }
    Ok(())
}

/// Compares the kind of each OTLP type. The suffix for unit 1 depends on it.
pub(super) fn types(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let document = document(suites)?;
    for case in cases::list(&document["translator_type"]) {
        report.case(cases::text(&case["case"]), || {
            let suffix = match cases::text(&case["translator_type"]) {
                "Gauge" => Some("x_ratio"),
                "MonotonicCounter" => Some("x_total"),
                "Histogram" | "ExponentialHistogram" | "Summary" | "NonMonotonicCounter" => {
                    Some("x")
                }
                _ => None,
            };
            let metric = Metric {
                name: "x".to_owned(),
                unit: "1".to_owned(),
                data: data(case),
                ..Default::default()
            };
            let translated = otlp_prw::translate_metric(metric)?;
            let families = translated.parts.iter().flat_map(|part| &part.families);
            let name = families.map(|family| family.name.as_str()).next();
            cases::same(&name, &suffix)
        });
    }
    Ok(())
}

/// Data with one point of a case's type.
fn data(case: &Value) -> Option<Data> {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let number = || {
        vec![NumberDataPoint {
            value: Some(number_data_point::Value::AsInt(1)),
            ..Default::default()
        }]
    };
    Some(match cases::text(&case["otlp_type"]) {
        "gauge" => Data::Gauge(Gauge {
            data_points: number(),
        }),
        "sum" => Data::Sum(Sum {
            data_points: number(),
            aggregation_temporality,
            is_monotonic: case["is_monotonic"] == true,
        }),
        "histogram" => Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint::default()],
            aggregation_temporality,
        }),
        "exponential_histogram" => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint::default()],
            aggregation_temporality,
        }),
        "summary" => Data::Summary(Summary {
            data_points: vec![SummaryDataPoint::default()],
        }),
        _ => return None,
    })
}

fn document(suites: &Path) -> anyhow::Result<Value> {
    cases::document(&suites.join("otlp_names.json"))
}
