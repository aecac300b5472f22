//! Lists the scrape configurations that monitors make.

use std::{fmt, path::Path, time::Duration};

use serde_json::Value;

use crate::monitors::{self, Collected, Collector, DirectoryError, MonitorArgs};

/// Result of checking monitors.
#[derive(Debug)]
pub struct MonitorReport {
    collected: Collected,
    /// Lists that failed.
    failures: Vec<String>,
}

// === impl MonitorReport ===

impl MonitorReport {
    /// Checks the manifests in a folder.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if the folder has several Prometheus
    /// objects.
    pub fn of_folder(folder: &Path) -> Result<Self, DirectoryError> {
        let (objects, materials) = monitors::read(folder)?;
        Ok(Self {
            collected: Collector::default().collect(&objects, &materials),
            failures: Vec::new(),
        })
    }

    /// Checks the monitors of a cluster, which has to list them within `limit`.
    ///
    /// # Errors
    /// Returns an error if the API server cannot be reached, or if the Prometheus object is
    /// missing or invalid.
    pub async fn of_cluster(args: &MonitorArgs, limit: Duration) -> Result<Self, String> {
        let (collected, failures) = monitors::once(args, limit).await?;
        Ok(Self {
            collected,
            failures,
        })
    }

    /// Returns true if every selected monitor is valid.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty() && self.collected.is_valid()
    }
}

impl fmt::Display for MonitorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "  FAILED: {failure}")?;
        }
        let (mut jobs, mut invalid) = (0, 0);
        for outcome in &self.collected.outcomes {
            let name = &outcome.name;
            match &outcome.configs {
                None => writeln!(f, "  {name}: not selected")?,
                Some(Err(mistake)) => {
                    invalid += 1;
                    let reason = mistake.reason;
                    writeln!(f, "  FAILED: {name}: {mistake} (reason: {reason})")?;
                }
                Some(Ok(_)) => {
                    writeln!(f, "  {name}:")?;
                    for job in outcome.shown.iter() {
                        jobs += 1;
                        write_job(f, job)?;
                    }
                }
            }
        }
        let total = self.collected.outcomes.len();
        let word = if self.is_success() {
            "SUCCESS"
        } else {
            "FAILED"
        };
        let hash = self.collected.hash();
        writeln!(
            f,
            "  {word}: {total} monitors, {jobs} scrape jobs, {invalid} invalid, hash {hash:012x}"
        )
    }
}

/// Writes a job as an entry of `scrape_configs`.
fn write_job(f: &mut fmt::Formatter<'_>, job: &str) -> fmt::Result {
    let job: Value = serde_json::from_str(job).map_err(|_| fmt::Error)?;
    let yaml = serde_saphyr::to_string(&[job]).map_err(|_| fmt::Error)?;
    yaml.lines().try_for_each(|line| writeln!(f, "    {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_jobs_and_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let text = "
{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {namespace: a, name: good},
 spec: {selector: {}, podMetricsEndpoints: [{port: web}]}}
---
{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {namespace: a, name: bad},
 spec: {selector: {}, podMetricsEndpoints: [{interval: often}]}}
";
        std::fs::write(folder.path().join("m.yaml"), text).unwrap();
        let report = MonitorReport::of_folder(folder.path()).unwrap();
        assert!(!report.is_success());
        let report = report.to_string();
        for line in [
            "  FAILED: PodMonitor a/bad: spec.podMetricsEndpoints[0].interval: found \"often\", expected a duration such as 30s or 1m30s (reason: schema)\n",
            "  PodMonitor a/good:\n",
            "job_name: podMonitor/a/good/0",
            "  FAILED: 2 monitors, 1 scrape jobs, 1 invalid, hash ",
        ] {
            assert!(report.contains(line), "{line}: {report}");
        }
    }
}
