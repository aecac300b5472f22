//! Scrape targets, and the file that receivers discover them from.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;

use super::{Cluster, METRICS, net::wait_until_free};
use stand_ins::{
    files::replace,
    sample_app::{SampleApp, SampleAppArgs},
};

/// Name of the file.
pub(super) const FILE: &str = "targets.json";

/// Third byte of the targets' addresses.
const TARGET_NET: u8 = 2;
/// Settings of most targets.
pub(crate) const APP: SampleAppArgs = SampleAppArgs {
    load: 1,
    change_interval: Duration::from_secs(1),
};

// === impl Cluster ===

impl Cluster {
    /// Starts one more target. Receivers discover it within a second.
    ///
    /// # Errors
    /// Returns an error if the target cannot listen or the file cannot be written.
    pub(crate) async fn add_target(&mut self) -> anyhow::Result<()> {
        self.add_target_with(APP).await
    }

    /// Starts one more target with these settings.
    ///
    /// # Errors
    /// Returns an error as [`Self::add_target`] does.
    pub(crate) async fn add_target_with(&mut self, app: SampleAppArgs) -> anyhow::Result<()> {
        let number = u8::try_from(self.targets.len() + 1)?;
        let at = SocketAddr::from(([127, self.net, TARGET_NET, number], METRICS));
        wait_until_free(at).await?;
        self.targets.push(SampleApp::listen(&app, at).await?);
        let addresses = self.targets.iter().map(|target| target.address());
        let addresses: Vec<_> = addresses.map(|at| at.to_string()).collect();
        let groups = json!([{ "targets": addresses }]);
        replace(&self.folder.path().join(FILE), &groups.to_string())
    }
}
