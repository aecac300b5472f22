//! Summaries: one series per quantile, `_sum` and `_count`.

use std::collections::HashSet;

use mesh_model::labels::QUANTILE;
use opentelemetry_proto::tonic::metrics::v1::SummaryDataPoint;

use super::{OtlpTranslator, attributes::Attributes, times};

// === impl OtlpTranslator ===

impl OtlpTranslator<'_> {
    pub(super) fn summaries(
        &mut self,
        attributes: &Attributes<'_>,
        name: &str,
        mut points: Vec<SummaryDataPoint>,
    ) {
        points.sort_by_key(|point| point.time_unix_nano);
        for summary in points {
            let times = times(summary.time_unix_nano, summary.start_time_unix_nano);
            let own = (&*summary.attributes, summary.flags, &[][..]);
            let Some(point) = self.point(name, attributes, own, times) else {
                continue;
            };
            self.float(&point, &format!("{name}_sum"), None, summary.sum, &[], true);
            let count = summary.count as f64;
            self.float(&point, &format!("{name}_count"), None, count, &[], false);
            let mut written = HashSet::new();
            for at in summary.quantile_values {
                let quantile = mesh_wire::float::plain(at.quantile);
                // The first value wins, as in Prometheus.
                if written.insert(quantile.clone()) {
                    let quantile = Some((QUANTILE, quantile));
                    self.float(&point, name, quantile, at.value, &[], false);
                }
            }
        }
    }
}
