//! Lists the targets of a configuration: one round of discovery, then relabeling.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use mesh_model::{
    config::{discovery::TargetGroup, duration, scrape::ScrapeConfig},
    labels::Labels,
};
use tokio::time::timeout;

use crate::{
    discovery::{Discovery, DiscoveryMetrics},
    scrape::{Populated, Target, labels_before_relabeling, populate},
};

/// The targets of one job, without duplicates.
#[derive(Debug, Default)]
pub(super) struct JobTargets {
    job: String,
    active: BTreeMap<u64, Target>,
    /// Labels of the dropped targets before relabeling.
    dropped: Vec<Labels>,
    errors: Vec<String>,
}

/// Runs one round of discovery for a job. Returns the targets, unless discovery could not start,
/// and the failures.
pub(super) async fn discover(
    config: &ScrapeConfig,
    limit: Duration,
) -> (Option<JobTargets>, Vec<String>) {
    // One discovery per job, so that a job that fails does not hide the others.
    let mut discovery = Discovery::new(DiscoveryMetrics::default(), Duration::ZERO);
    if let Err(error) = discovery.apply(std::slice::from_ref(config)).await {
        return (None, vec![error.to_string()]);
    }
    let job = &config.job_name;
    let failures = match timeout(limit, discovery.first_refresh()).await {
        Ok(failed) => failed
            .iter()
            .map(|error| format!("job {job:?}: {error}"))
            .collect(),
        Err(_) => vec![format!(
            "job {job:?}: discovery did not complete within {} (--discovery.timeout)",
            duration::format(limit)
        )],
    };
    let current = discovery.current();
    let groups = current.get(job).into_iter().flatten();
    (Some(JobTargets::new(config, groups)), failures)
}

// === impl JobTargets ===

impl JobTargets {
    fn new<'a>(config: &ScrapeConfig, groups: impl Iterator<Item = &'a Arc<TargetGroup>>) -> Self {
        let mut targets = Self {
            job: config.job_name.clone(),
            ..Self::default()
        };
        for group in groups {
            for labels in &group.targets {
                match populate(config, group, labels) {
                    Ok(Populated::Active(target)) => {
                        targets.active.insert(target.identity, *target);
                    }
                    Ok(Populated::Dropped) => {
                        let discovered = labels_before_relabeling(config, group, labels);
                        targets.dropped.push(discovered.build());
                    }
                    Err(error) => targets.errors.push(format!("{labels}: {error}")),
                }
            }
        }
        targets
    }
}

impl fmt::Display for JobTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (active, dropped) = (self.active.len(), self.dropped.len());
        writeln!(f, "job {:?}: {active} scraped, {dropped} dropped", self.job)?;
        let mut active: Vec<_> = self.active.values().collect();
        active.sort_by(|one, other| one.url.cmp(&other.url));
        for target in active {
            let every = duration::format(target.interval);
            writeln!(f, "  {} every {every} {}", target.url, target.public)?;
        }
        for discovered in &self.dropped {
            writeln!(f, "  dropped {discovered}")?;
        }
        for error in &self.errors {
            writeln!(f, "  error {error}")?;
        }
        Ok(())
    }
}
