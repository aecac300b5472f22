//! Matches series to metric families by name.
//!
//! In the text formats only names connect them: `foo_bucket` belongs to the histogram
//! `foo`. Metadata may be missing or misplaced, so a sample need not belong to the
//! family whose metadata precedes it.

use crate::exposition::MetricType;

/// Returns true if the series `name` belongs to the family `family`.
pub(crate) fn is_member(name: &str, family: &str, metric_type: MetricType) -> bool {
    let (own_suffix, suffixes): (&str, &[&str]) = match metric_type {
        // In the Prometheus text format the family's name may have these suffixes too.
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
    use super::{MetricType::*, is_member};

    #[test]
    fn accepts_only_the_suffixes_of_the_type() {
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
                is_member(name, family, metric_type),
                part,
                "{name} {family} {metric_type:?}"
            );
        }
    }
}
