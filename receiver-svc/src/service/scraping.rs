//! Follows the inputs of the scrape manager: configuration, discovery and members.

use std::{path::PathBuf, sync::Arc};

use mesh_contract::batch::BatchContext;
use mesh_model::config::Config;
use mesh_service::{reload::Requests, telemetry};
use tokio::sync::watch;
use tracing::{info, warn};

use super::error::{ApplyError, Error};
use crate::{batch_context::batch_context, discovery::Discovery, scrape::Manager, shard::Shards};

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
                request = requests.next() => {
                    let outcome = self.reload().await;
                    request.respond(outcome);
                }
            }
            self.manager.sync();
        }
    }

    async fn reload(&mut self) -> Result<(), Error> {
        let config = Config::load(&self.config_file)?;
        self.apply(&config).await
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
        let prepared = self.manager.prepare(&config.scrape_configs, &context)?;
        self.discovery.apply(&config.scrape_configs).await?;
        self.manager.apply(prepared);
        self.context.send_replace(context);
        telemetry::set_level(config.log_level);
        for warning in &config.warnings {
            warn!(%warning, "Configuration has a probable mistake");
        }
        for section in &config.ignored_sections {
            info!(section, "Configuration section ignored");
        }
        Ok(())
    }
}
