//! Metric `target_info`, which carries the attributes of a resource as labels.

use mesh_contract::verdict::Reason;
use mesh_model::labels::{INSTANCE, JOB, METRIC_NAME};
use opentelemetry_proto::tonic::{common::v1::KeyValue, metrics::v1::Metric};
use proto::v1::metric_metadata::MetricType;

use super::{
    OtlpTranslator,
    attributes::{Attributes, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE, joined},
    family, times,
};
use crate::remote_write::part::Family;

/// Time range of a resource's points in nanoseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Period(Option<(u64, u64)>);

/// Interval of `target_info` samples. It is half of Prometheus' lookback of five
/// minutes, so that queries find no gap.
const STEP_NANOS: u64 = 150_000_000_000;
/// One millisecond in nanoseconds.
const MILLISECOND: u64 = 1_000_000;
/// Maximum number of samples per push. A push over a longer time range gets the last
/// ones.
const MAX_SAMPLES: u64 = 50;

// === impl Period ===

impl Period {
    /// Extends the range by the points of `metric`.
    pub(super) fn extend(&mut self, metric: &Metric) {
        for time in family::times(metric) {
            // Remote write has millisecond resolution, so there is one sample per
            // millisecond.
            let time = time - time % MILLISECOND;
            let (first, last) = self.0.unwrap_or((time, time));
            self.0 = Some((first.min(time), last.max(time)));
        }
    }

    /// Timestamps of the samples; the last one is the end of the range.
    ///
    /// A range shorter than the interval gets a single sample. An SDK reads its clock
    /// once per instrument, so a push spans a few milliseconds. With a sample for each,
    /// a retry of the push would be out of order for all but the last (law 2).
    fn samples(&self) -> impl Iterator<Item = u64> {
        let steps = self.0.map(|(first, last)| {
            let first = match last - first {
                within if within < STEP_NANOS => last,
                _ => first.max(last.saturating_sub(STEP_NANOS * MAX_SAMPLES)),
            };
            (first..last).step_by(STEP_NANOS as usize).chain([last])
        });
        steps.into_iter().flatten()
    }
}

// === impl OtlpTranslator ===

impl OtlpTranslator<'_> {
    /// Writes the `target_info` of a resource if it has attributes beside the
    /// identifying ones.
    pub(super) fn target_info(&mut self, resource: &[KeyValue], period: Period) {
        let identifying = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE_ID];
        let is_identifying = |key: &str| identifying.contains(&key);
        if resource.iter().all(|pair| is_identifying(&pair.key)) {
            return;
        }
        if let Err(problem) = self.exposed_limits.check_count(resource.len()) {
            let problem = || format!("target_info: {problem}");
            return self.sink.reject(Reason::LabelLimit, 0, problem);
        }
        let keep_all = self.rules.config.keep_identifying_resource_attributes;
        let (mut labels, invalid) = joined(self.rules, resource, |key| {
            key != METRIC_NAME && (keep_all || !is_identifying(key))
        });
        if let Some(error) = invalid {
            // The other attributes and the data points are translated nevertheless.
            self.sink
                .reject(Reason::InvalidLabel, 0, || format!("resource: {error}"));
        }
        Attributes::of_resource(self.rules, resource).identify(&mut labels);
        if labels.get(JOB).is_none() && labels.get(INSTANCE).is_none() {
            return;
        }
        labels.set(METRIC_NAME, "target_info");
        if self.sink.capabilities().families {
            self.sink.begin_family(Family {
                name: "target_info".to_owned(),
                metric_type: MetricType::Gauge,
                help: "Target metadata".to_owned(),
                unit: String::new(),
            });
        }
        let Some(series) = self.rewrite(&mut labels, false) else {
            return;
        };
        for time in period.samples() {
            if self.target_infos.insert((series.hash, time)) {
                self.sink
                    .float(series.as_ref(), times(time, 0), 1.0, &[], false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_within_one_interval_has_one_sample() {
        const SECOND: u64 = 1_000 * MILLISECOND;
        for (last, expected) in [
            (0, &[0][..]),
            (MILLISECOND, &[MILLISECOND]),
            (149 * SECOND, &[149 * SECOND]),
            (150 * SECOND, &[0, 150 * SECOND]),
            (310 * SECOND, &[0, 150 * SECOND, 300 * SECOND, 310 * SECOND]),
        ] {
            let samples: Vec<_> = Period(Some((0, last))).samples().collect();
            assert_eq!(samples, expected, "{last}");
        }
        assert_eq!(Period(None).samples().count(), 0);
    }
}
