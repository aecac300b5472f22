//! `receiver-svc check`: validates a configuration file and lists its targets.
//! Never scrapes a target and never sends a sample.

mod files;
mod mistakes;
mod monitors;
mod targets;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use mesh_contract::ha::REPLICA;
use mesh_model::{
    config::{Config, Place, discovery::DiscoveryConfig},
    flags,
};
use mesh_service::telemetry::LogArgs;

pub use self::monitors::MonitorReport;
use self::targets::JobTargets;
use crate::{batch_context::batch_context, discovery::DiscoveryError, monitors::MonitorArgs};

/// Checks a Prometheus configuration file.
///
/// Prints the problems of the file with file, line and column, or a summary of its content. The
/// files that it references must exist and be usable, unless --syntax-only is given. Exit codes: 0 if it
/// finds no mistake, 1 if it finds one, 2 for a usage error.
#[derive(Clone, Debug, Parser)]
#[command(name = "check")]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(required_unless_present_any = ["monitors_dir", "monitors_cluster"])]
    pub file: Option<PathBuf>,

    /// Check the syntax of the file only, not the files that it references.
    #[arg(long = "syntax-only", conflicts_with = "targets")]
    pub syntax_only: bool,

    /// Folder with manifests of ServiceMonitor, PodMonitor, Probe and ScrapeConfig
    /// objects. Prints the scrape configuration that each one makes, or what is
    /// wrong with it. Reads Secrets, ConfigMaps, Namespaces and at most one
    /// Prometheus or PrometheusAgent from the same folder.
    #[arg(long = "monitors.dir", value_name = "DIR")]
    pub monitors_dir: Option<PathBuf>,

    /// List the targets with all labels, and the targets that relabeling drops.
    /// Runs one round of discovery.
    #[arg(long = "targets")]
    pub targets: bool,

    /// Timeout for one round of discovery.
    #[arg(
        long = "discovery.timeout",
        env = "PROMESH_DISCOVERY_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10s"
    )]
    pub discovery_timeout: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub monitors: MonitorArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}

/// Result of checking a configuration file.
#[derive(Debug, Default)]
pub struct Report {
    summary: String,
    /// Problems that prevent a receiver from running with the file.
    failures: Vec<String>,
    /// Problems that a receiver tolerates.
    warnings: Vec<String>,
    jobs: Vec<JobTargets>,
}

/// Problems that one kind of check finds.
#[derive(Debug, Default)]
struct Problems {
    /// Problems that prevent a receiver or an exporter from working with the file.
    failures: Vec<String>,
    /// Probable mistakes.
    warnings: Vec<String>,
}

/// Checks the file at `path`.
pub async fn check(path: &Path, args: &CheckArgs) -> Report {
    let config = match Config::load_thoroughly(path) {
        Ok(config) => config,
        Err(errors) => {
            return Report {
                failures: errors.iter().map(ToString::to_string).collect(),
                ..Report::default()
            };
        }
    };
    let mut report = Report {
        summary: summary(&config),
        ..Report::default()
    };
    let warnings = config.warnings.iter().map(ToString::to_string);
    report.warnings.extend(warnings);
    let Problems { failures, warnings } = mistakes::of(&config);
    report.failures.extend(failures);
    report.warnings.extend(warnings);
    for scrape in &config.scrape_configs {
        for discovery in &scrape.discovery {
            if let DiscoveryConfig::Unsupported(mechanism) = discovery {
                let refused = DiscoveryError::Unsupported {
                    job: scrape.job_name.clone(),
                    mechanism: mechanism.clone(),
                };
                let refused = format!("{}{refused}", place_of_job(&config, &scrape.job_name));
                report.failures.push(refused);
            }
        }
    }
    if !args.syntax_only {
        // These depend on the environment.
        if let Err(error) = batch_context(&config, &[]) {
            let place = prefix(config.places.external_labels.get(REPLICA));
            report.failures.push(format!("{place}{error}"));
        }
        let Problems { failures, warnings } = files::check(&config);
        report.failures.extend(failures);
        report.warnings.extend(warnings);
    }
    if args.targets {
        for scrape in &config.scrape_configs {
            let place = place_of_job(&config, &scrape.job_name);
            let (job, failures) = targets::discover(scrape, args.discovery_timeout).await;
            report.jobs.extend(job);
            for failure in failures {
                let failure = format!("{place}{failure}");
                if !report.failures.contains(&failure) {
                    report.failures.push(failure);
                }
            }
        }
    }
    report
}

/// Returns the place of a job, to put before a message about it.
fn place_of_job(config: &Config, job: &str) -> String {
    prefix(config.places.jobs.get(job))
}

/// Returns a place to put before a message; nothing if it is not known.
fn prefix(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!("{place}: "))
}

fn summary(config: &Config) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut text = format!(
        "{}, {}",
        counted(config.scrape_configs.len(), "scrape job"),
        counted(config.remote_write.len(), "remote write destination"),
    );
    if let [_, more @ ..] = &config.sources[..]
        && !more.is_empty()
    {
        text.push_str(&format!(
            ", {}",
            counted(more.len(), "scrape configuration file")
        ));
    }
    if !config.ignored_sections.is_empty() {
        let sections = config.ignored_sections.join(", ");
        text.push_str(&format!("; ignored sections: {sections}"));
    }
    text
}

// === impl Report ===

impl Report {
    /// Returns true if a receiver can run with the file.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "  WARNING: {warning}")?;
        }
        for failure in &self.failures {
            writeln!(f, "  FAILED: {failure}")?;
        }
        if self.is_success() {
            writeln!(f, "  SUCCESS: {}", self.summary)?;
        }
        for job in &self.jobs {
            write!(f, "\n{job}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
