//! The targets, and the file that they are discovered from.

use std::net::SocketAddr;

use serde_json::json;

use super::{METRICS, World, net::free};
use stand_ins::{files::replace, sample_app::{SampleApp, SampleAppArgs}};

/// The file's name.
pub(super) const FILE: &str = "targets.json";

/// The third byte of targets' addresses.
const TARGET_NET: u8 = 2;
const APP: SampleAppArgs = SampleAppArgs {
    load: 1,
    change_interval: 1,
};

// === impl World ===

impl World {
    /// Starts one more target, which receivers discover within a second.
    ///
    /// # Errors
    /// Where it cannot listen or the file not be written.
    pub(crate) async fn add_target(&mut self) -> anyhow::Result<()> {
        let number = u8::try_from(self.targets.len() + 1)?;
        let at = SocketAddr::from(([127, self.net, TARGET_NET, number], METRICS));
        free(at).await?;
        self.targets.push(SampleApp::listen(&APP, at).await?);
        let addresses = self.targets.iter().map(|target| target.address());
        let addresses: Vec<_> = addresses.map(|at| at.to_string()).collect();
        let groups = json!([{ "targets": addresses }]);
        replace(&self.folder.path().join(FILE), &groups.to_string())
    }
}
