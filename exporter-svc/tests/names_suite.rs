//! Names of OTLP metrics, labels and units, against the cases of the library that
//! Prometheus itself uses.

use exporter_svc::translate::name::{Kind, Namer, unit};
use mesh::config::remote_write::{OtlpConfig, TranslationStrategy as Strategy};
use serde_json::Value;

/// Cases that are not met, each with its reason.
const UNMET: &[(&str, &str)] = &[
    ("metric with namespace without suffixes", NAMESPACE),
    ("namespace with special characters", NAMESPACE),
    ("metric with namespace and suffixes", NAMESPACE),
    (
        "metric starting with digit with namespace and suffixes",
        NAMESPACE,
    ),
    ("utf8 metric with namespace without suffixes", NAMESPACE),
    ("utf8 metric with namespace and suffixes", NAMESPACE),
];

/// Why namespaces are not met.
const NAMESPACE: &str = "the configuration file has no namespace, in Prometheus neither";

fn suite() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/suites/otlp_names.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn flag(case: &Value, name: &str) -> bool {
    case[name].as_bool().unwrap()
}

fn strategy(utf8: bool, suffixes: bool) -> Strategy {
    match (utf8, suffixes) {
        (false, true) => Strategy::UnderscoreEscapingWithSuffixes,
        (false, false) => Strategy::UnderscoreEscapingWithoutSuffixes,
        (true, true) => Strategy::NoUtf8EscapingWithSuffixes,
        (true, false) => Strategy::NoTranslation,
    }
}

fn metric(case: &Value) -> Result<String, String> {
    let namer = Namer::new(&OtlpConfig {
        translation_strategy: strategy(flag(case, "utf8_allowed"), flag(case, "with_suffixes")),
        ..Default::default()
    });
    let kind = match case["type"].as_str().unwrap() {
        "gauge" => Kind::Gauge,
        "monotonic_counter" => Kind::Counter,
        _ => Kind::Other,
    };
    let text = |name: &str| case[name].as_str().unwrap();
    let made = namer.metric(text("name"), text("unit"), kind);
    made.map_err(|error| error.to_string())
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn metric_names() {
    let suite = suite();
    let cases = suite["metric_names"].as_array().unwrap();
    assert_eq!(cases.len(), 84);
    let mut failures = Vec::new();
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let want = case["want_error"]
            .is_null()
            .then(|| case["want"].as_str().unwrap());
        let made = metric(case);
        let met = made.as_deref().ok() == want;
        let namespace = case["namespace"] != "";
        let listed = namespace && UNMET.iter().any(|(unmet, _)| *unmet == name);
        if met == listed {
            failures.push(format!(
                "{name}: made {made:?}, want {want:?}, listed: {listed}\n  {case}"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn units() {
    for case in suite()["metric_names"].as_array().unwrap() {
        if let Some(want) = case["want_unit"].as_str() {
            assert_eq!(unit(case["unit"].as_str().unwrap()), want, "{case}");
        }
    }
    for (from, to) in suite()["unit_map"].as_object().unwrap() {
        assert_eq!(unit(from), to.as_str().unwrap());
    }
    for (from, to) in suite()["per_unit_map"].as_object().unwrap() {
        assert_eq!(
            unit(&format!("x/{from}")),
            format!("x_per_{}", to.as_str().unwrap())
        );
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn label_names() {
    let suite = suite();
    let cases = suite["label_names"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    let settings = [
        ("default", false, false, false),
        ("utf8_allowed", true, false, false),
        ("underscore_label_sanitization", false, true, false),
        ("preserve_multiple_underscores", false, false, true),
        ("preserve_and_sanitize", false, true, true),
    ];
    for case in cases {
        for (setting, utf8, sanitize, preserve) in settings {
            let namer = Namer::new(&OtlpConfig {
                translation_strategy: strategy(utf8, true),
                label_name_underscore_sanitization: sanitize,
                label_name_preserve_multiple_underscores: preserve,
                ..Default::default()
            });
            let want = &case[setting];
            let want = want["error"]
                .is_null()
                .then(|| want["want"].as_str().unwrap());
            let made = namer.label(case["label"].as_str().unwrap());
            assert_eq!(made.as_deref().ok(), want, "{setting}: {case}");
        }
    }
}
