//! Whether a sample belongs to the family whose metadata was read last.
//!
//! The text formats only say it by the names: `foo_bucket` belongs to the
//! histogram `foo`. Metadata may be missing or stand in the wrong place, so the
//! line before a sample is not enough.

use crate::exposition::MetricType;

/// Whether a series named `name` is one of the family `family`.
pub(crate) fn is_part_of(name: &str, family: &str, metric_type: MetricType) -> bool {
    let (own_suffix, suffixes): (&str, &[&str]) = match metric_type {
        // The Prometheus text format has these also in the family's name.
        MetricType::Counter => ("_total", &["_total"]),
        MetricType::Info => ("_info", &["_info"]),
        MetricType::Histogram => ("", &["_bucket", "_sum", "_count"]),
        MetricType::GaugeHistogram => ("", &["_bucket", "_gsum", "_gcount"]),
        MetricType::Summary => ("", &["_sum", "_count"]),
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => ("", &[]),
    };
    let base = suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    name.starts_with(family) && base == family.strip_suffix(own_suffix).unwrap_or(family)
}

#[cfg(test)]
mod tests {
    use super::{MetricType::*, is_part_of};

    #[test]
    fn suffixes_are_those_of_the_type() {
        for (name, family, metric_type, part) in [
            ("foo", "foo", Gauge, true),
            ("foo_total", "foo", Gauge, false),
            ("foo_total", "foo", Counter, true),
            ("foo_total", "foo_total", Counter, true),
            ("foo", "foo", Counter, true),
            ("foo", "foo_total", Counter, false),
            ("foo_bucket", "foo", Histogram, true),
            ("foo_sum", "foo", Histogram, true),
            ("foo_gsum", "foo", Histogram, false),
            ("foo_gsum", "foo", GaugeHistogram, true),
            ("foo_created", "foo", Histogram, false),
            ("foo", "foo", Summary, true),
            ("foo_bucket", "foo", Summary, false),
            ("foo_info", "foo", Info, true),
            ("foo_info", "foo_info", Info, true),
            ("foo_bar", "foo", Unknown, false),
            ("bar", "foo", Unknown, false),
        ] {
            assert_eq!(
                is_part_of(name, family, metric_type),
                part,
                "{name} {family} {metric_type:?}"
            );
        }
    }
}
