//! Faults that each scenario injects.

use std::time::Duration;

use super::{scenario::Scenario, testbed::Testbed};

/// Time that is longer than an election takes.
const ELECTION: Duration = Duration::from_secs(45);
const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(20);
/// Limit in samples per second, and burst size. A request has more samples than the burst.
const SLOW: &str = "{ingestion_rate: 100, ingestion_burst_size: 300}";

// === impl Testbed ===

impl Testbed {
    /// Injects the fault of a scenario and repairs it.
    ///
    /// # Errors
    /// Returns an error if a process does not start or stop.
    pub(super) async fn run(&mut self, scenario: Scenario) -> anyhow::Result<()> {
        match scenario {
            Scenario::Healthy | Scenario::SeriesLimit => self.push_for(MINUTE).await,
            Scenario::KillExporters => {
                for exporter in &mut self.mesh.services.exporters {
                    exporter.kill().await?;
                }
                for exporter in &mut self.mesh.services.exporters {
                    exporter.restart().await?;
                }
                Ok(())
            }
            Scenario::KillReceiver => {
                let group = self.elected()?;
                self.kill_receivers(&group, 1).await?;
                self.push_for(SHORT / 2).await?;
                self.restart_receivers().await
            }
            Scenario::KillGroup => {
                let group = self.elected()?;
                self.kill_receivers(&group, 2).await?;
                self.push_for(ELECTION).await?;
                self.restart_receivers().await?;
                self.push_for(ELECTION).await
            }
            Scenario::Restart => {
                self.cortex.stop().await?;
                self.push_for(MINUTE).await?;
                self.cortex.restart().await
            }
            Scenario::KillCortex => {
                self.cortex.kill().await?;
                self.cortex.restart().await
            }
            Scenario::Freeze => {
                self.cortex.freeze(true).await?;
                self.push_for(SHORT).await?;
                self.cortex.freeze(false).await
            }
            Scenario::RateLimit => {
                self.cortex.limit(SLOW)?;
                self.push_for(SHORT).await?;
                self.cortex.limit("{}")
            }
        }
    }
}
