//! Models scrapes as values and generates them.

use proptest::{collection::vec, option, prelude::*};
use receiver_svc::exposition::MetricType;

/// Metric family whose metrics have one sample each.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) metric_type: MetricType,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Labels with distinct names.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: Option<i64>,
    pub(crate) exemplar: Option<(Vec<(String, String)>, f64)>,
}

pub(crate) fn families() -> impl Strategy<Value = Vec<Family>> {
    vec(family(), 0..4)
}

fn family() -> impl Strategy<Value = Family> {
    let metric_type = prop_oneof![
        Just(MetricType::Counter),
        Just(MetricType::Gauge),
        Just(MetricType::Unknown),
    ];
    // Prometheus drops a help text of whitespace only.
    let help = ".{0,20}x";
    (name(), help, metric_type, vec(sample(), 1..5)).prop_map(
        |(name, help, metric_type, samples)| Family {
            name,
            help,
            metric_type,
            samples,
        },
    )
}

fn sample() -> impl Strategy<Value = Sample> {
    let value = prop_oneof![
        any::<f64>().prop_filter("one NaN", |v| !v.is_nan()),
        Just(1.0)
    ];
    // Quarters of a second are exact. Prometheus truncates the float seconds of
    // OpenMetrics to milliseconds, so other values may lose a millisecond.
    let timestamp = option::of((1_i64..16_409_779_200).prop_map(|quarters| quarters * 250));
    // Prometheus rejects null bytes in the label values of exemplars.
    let exemplar_labels = labels().prop_map(|mut labels| {
        labels
            .iter_mut()
            .for_each(|(_, value)| *value = value.replace('\0', " "));
        labels
    });
    let exemplar = option::of((exemplar_labels, -1e9..1e9));
    (labels(), value, timestamp, exemplar).prop_map(|(labels, value, timestamp, exemplar)| Sample {
        labels,
        value,
        timestamp,
        exemplar,
    })
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof!["[a-z0-9]{0,8}", r#"[ -~é\n]{0,12}"#, ".{0,6}"];
    vec((name(), value), 0..5).prop_map(|mut labels| {
        labels.sort();
        labels.dedup_by(|one, other| one.0 == other.0);
        labels
    })
}

/// Generates a legacy name or a name that requires quotes.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,8}", r#"[ -~é\n]{1,8}"#]
}
