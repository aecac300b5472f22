//! Follows the inputs of the scrape manager: configuration, discovery and members.

use std::{
    collections::{BTreeMap, HashMap},
    future,
    path::PathBuf,
    sync::Arc,
};

use mesh_contract::batch::BatchContext;
use mesh_model::config::{Config, scrape::ScrapeConfig};
use mesh_service::{reload::Requests, telemetry};
use tokio::sync::watch;
use tracing::{info, warn};

use super::error::{ApplyError, Error};
use crate::{
    batch_context::batch_context,
    discovery::Discovery,
    monitors::{Collected, Following, MonitorStatus},
    scrape::{Manager, Prepared},
    shard::Shards,
};

/// Scrape manager and its inputs.
#[derive(Debug)]
pub(super) struct Scraping {
    pub(super) config_file: PathBuf,
    pub(super) manager: Manager,
    pub(super) discovery: Discovery,
    pub(super) shards: Shards,
    /// Names of this receiver, if it shares its targets with others. The replica label must be
    /// none of them.
    pub(super) own_names: Vec<String>,
    pub(super) context: watch::Sender<Arc<BatchContext>>,
    /// Configuration of the file, as applied last.
    pub(super) config: Option<Config>,
    /// Monitors of the cluster, if they are scraped too.
    pub(super) monitors: Option<Monitors>,
}

/// Monitors of the cluster and their state.
#[derive(Debug)]
pub(super) struct Monitors {
    pub(super) following: Following,
    pub(super) status: MonitorStatus,
}

/// Scrape configurations of the file and of the monitors.
struct Merged {
    configs: Vec<ScrapeConfig>,
    /// Monitor of each job that is not from the file.
    monitors: HashMap<String, String>,
}

// === impl Scraping ===

impl Scraping {
    /// Follows discovery, the members, their overrides and reload requests. Returns only if
    /// discovery or the members end.
    pub(super) async fn run(&mut self, mut requests: Requests) {
        let mut jobs = self.discovery.jobs();
        // Values that were published before this loop started count as changes.
        jobs.mark_changed();
        self.shards.mark_changed();
        loop {
            tokio::select! {
                // A fixed order lets simulations repeat. Each source is ready only now and then.
                biased;
                () = self.manager.overrides_changed() => {}
                changed = jobs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = jobs.borrow_and_update().clone();
                    self.manager.update_targets(&known);
                }
                changed = self.shards.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = self.shards.borrow_and_update().clone();
                    if let Some(shard) = known {
                        self.manager.update_shard(shard);
                    }
                }
                () = changed(&mut self.monitors) => self.apply_monitors().await,
                request = requests.next() => {
                    let outcome = self.reload().await;
                    request.respond(outcome);
                }
            }
            self.manager.sync();
        }
    }

    /// Applies the monitors that have changed, beside the file's configuration.
    async fn apply_monitors(&mut self) {
        let Some(config) = self.config.take() else {
            return;
        };
        if let Err(error) = self.apply(&config).await {
            warn!(%error, "Monitors cannot be applied, keeping the last jobs");
        }
        self.config = Some(config);
    }

    async fn reload(&mut self) -> Result<(), Error> {
        let config = Config::load(&self.config_file)?;
        self.apply(&config).await?;
        self.config = Some(config);
        Ok(())
    }

    /// Applies a configuration. Changes nothing if it fails.
    ///
    /// # Errors
    /// Returns an error if the replica label, a job or a discovery mechanism is unusable.
    pub(super) async fn apply(&mut self, config: &Config) -> Result<(), Error> {
        self.try_apply(config).await.map_err(|source| Error::Apply {
            file: self.config_file.clone(),
            source,
        })
    }

    async fn try_apply(&mut self, config: &Config) -> Result<(), ApplyError> {
        let context = Arc::new(batch_context(config, &self.own_names)?);
        let prepared = self.prepare(&config.scrape_configs, &context).await?;
        self.manager.apply(prepared);
        self.context.send_replace(context);
        telemetry::set_level(config.log_level);
        for section in &config.ignored_sections {
            info!(section, "Configuration section ignored");
        }
        Ok(())
    }

    /// Prepares all jobs and starts their discovery. Leaves out monitors whose jobs cannot be
    /// prepared; a job of the file that cannot be prepared is an error.
    async fn prepare(
        &mut self,
        file: &[ScrapeConfig],
        context: &Arc<BatchContext>,
    ) -> Result<Prepared, ApplyError> {
        let monitors = self.monitors.as_mut();
        let monitors = monitors.map(|monitors| {
            let collected = monitors.following.collected.borrow_and_update();
            Arc::clone(&collected)
        });
        let mut refused = BTreeMap::new();
        let prepared = loop {
            let merged = Merged::new(file, monitors.as_deref(), &mut refused);
            let (job, error) = match self.manager.prepare(&merged.configs, context) {
                Ok(prepared) => match self.discovery.apply(&merged.configs).await {
                    Ok(()) => break prepared,
                    Err(error) => (error.job().to_owned(), ApplyError::from(error)),
                },
                Err(error) => (error.job.clone(), ApplyError::from(error)),
            };
            match merged.monitors.get(&job) {
                Some(monitor) => refused.insert(monitor.clone(), error.to_string()),
                None => return Err(error),
            };
        };
        if let Some(monitors) = &self.monitors {
            monitors.status.set_refused(refused);
        }
        Ok(prepared)
    }
}

/// Waits until monitors change. Never returns without monitors.
async fn changed(monitors: &mut Option<Monitors>) {
    if let Some(monitors) = monitors
        && monitors.following.collected.changed().await.is_ok()
    {
        return;
    }
    future::pending().await
}

// === impl Merged ===

impl Merged {
    /// Merges the file's jobs with those of all monitors except the refused ones. Refuses
    /// monitors whose job has the name of a job in the file.
    fn new(
        file: &[ScrapeConfig],
        collected: Option<&Collected>,
        refused: &mut BTreeMap<String, String>,
    ) -> Self {
        let mut merged = Self {
            configs: file.to_vec(),
            monitors: HashMap::new(),
        };
        for outcome in collected.iter().flat_map(|collected| &collected.outcomes) {
            let Some(Ok(configs)) = &outcome.configs else {
                continue;
            };
            let twin = configs
                .iter()
                .find(|config| file.iter().any(|job| job.job_name == config.job_name));
            if let Some(twin) = twin {
                let message = format!("the file has a job {:?} too", twin.job_name);
                refused.insert(outcome.name.clone(), message);
            }
            if refused.contains_key(&outcome.name) {
                continue;
            }
            for config in configs.iter() {
                let job = config.job_name.clone();
                merged.monitors.insert(job, outcome.name.clone());
                merged.configs.push(config.clone());
            }
        }
        merged
    }
}
