//! Number of targets by health, as metrics.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::sync::watch;

use super::status::{JobStatus, Status};

/// Counts the targets that this receiver scrapes by job and health.
#[derive(Debug)]
pub struct TargetHealth(watch::Receiver<Arc<Status>>);

/// Values of the label `health`, as on the page of targets.
const HEALTHS: [&str; 3] = ["up", "down", "unknown"];

// === impl TargetHealth ===

impl TargetHealth {
    /// Creates the metrics of the targets in `status`.
    pub fn new(status: watch::Receiver<Arc<Status>>) -> Self {
        Self(status)
    }
}

impl Collector for TargetHealth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.0.borrow().clone();
        let (name, help) = (
            "targets_health",
            "Number of targets that this receiver scrapes, by the health of their last scrape",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for job in &status.jobs {
            for (health, count) in HEALTHS.into_iter().zip(counts(job)) {
                let labels = [("job", job.job.as_str()), ("health", health)];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Returns the numbers of targets that are up, down and not scraped yet.
fn counts(job: &JobStatus) -> [i64; 3] {
    let mut counts = [0; 3];
    let own = job.targets.iter().filter_map(|it| it.health.as_ref());
    for health in own {
        let at = match health.record() {
            Some(record) if record.is_up => 0,
            Some(_) => 1,
            None => 2,
        };
        counts[at] += 1;
    }
    counts
}
