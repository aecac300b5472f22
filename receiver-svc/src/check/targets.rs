//! What would be scraped: one round of discovery, relabeled.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use mesh::{
    config::{discovery::TargetGroup, duration, scrape::ScrapeConfig},
    labels::Labels,
};
use tokio::time::timeout;

use crate::{
    discovery::{Discovery, DiscoveryMetrics},
    scrape::{Populated, Target, populate},
};

/// The targets of one job, each once.
#[derive(Debug, Default)]
pub(super) struct JobTargets {
    job: String,
    kept: BTreeMap<u64, Target>,
    /// As discovered.
    dropped: Vec<Labels>,
    errors: Vec<String>,
}

/// Discovers the targets of each job once. Returns what could not be discovered
/// too.
pub(super) async fn discover(
    configs: &[ScrapeConfig],
    limit: Duration,
) -> (Vec<JobTargets>, Vec<String>) {
    let (mut jobs, mut failures) = (Vec::new(), Vec::new());
    // Each job by itself, so that one whose targets cannot be discovered keeps no
    // other from being told of.
    for config in configs {
        let mut discovery = Discovery::new(DiscoveryMetrics::default(), Duration::ZERO);
        if let Err(error) = discovery.apply(std::slice::from_ref(config)).await {
            failures.push(error.to_string());
            continue;
        }
        let job = &config.job_name;
        match timeout(limit, discovery.looked()).await {
            Ok(failed) => {
                failures.extend(failed.iter().map(|error| format!("job {job:?}: {error}")));
            }
            Err(_) => failures.push(format!(
                "job {job:?}: discovery not complete after {} (--discovery.timeout)",
                duration::format(limit)
            )),
        }
        let known = discovery.known();
        let groups = known.get(&config.job_name).into_iter().flatten();
        jobs.push(JobTargets::new(config, groups));
    }
    (jobs, failures)
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
                    Ok(Populated::Kept(target)) => {
                        targets.kept.insert(target.identity, *target);
                    }
                    Ok(Populated::Dropped(discovered)) => targets.dropped.push(discovered),
                    Err(error) => targets.errors.push(format!("{labels}: {error}")),
                }
            }
        }
        targets
    }
}

impl fmt::Display for JobTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, dropped) = (self.kept.len(), self.dropped.len());
        writeln!(f, "job {:?}: {kept} scraped, {dropped} dropped", self.job)?;
        let mut kept: Vec<_> = self.kept.values().collect();
        kept.sort_by(|one, other| one.url.cmp(&other.url));
        for target in kept {
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
