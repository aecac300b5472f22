//! `receiver-svc check`: validates a configuration file and lists its targets.
//! Never scrapes a target and never sends a sample.

mod files;
mod targets;

use std::{fmt, path::PathBuf, time::Duration};

use clap::Parser;
use mesh_model::{
    config::{Config, ConfigError, discovery::DiscoveryConfig},
    flags,
};
use mesh_service::telemetry::LogArgs;

use self::{files::FileProblems, targets::JobTargets};
use crate::{batch_context::batch_context, discovery::DiscoveryError};

/// Checks a Prometheus configuration file.
///
/// Prints the problems of the file, or a summary of its content. The files that
/// it references must exist, unless --syntax-only is given. Exit codes: 0 if it
/// finds no mistake, 1 if it finds one, 2 for a usage error.
#[derive(Clone, Debug, Parser)]
#[command(name = "check")]
pub struct CheckArgs {
    /// The configuration file.
    pub file: PathBuf,

    /// Check the syntax of the file only, not the files that it references.
    #[arg(long = "syntax-only", conflicts_with = "targets")]
    pub syntax_only: bool,

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
    pub log: LogArgs,
}

/// Result of checking a configuration file that could be parsed.
#[derive(Debug, Default)]
pub struct Report {
    summary: String,
    /// Problems that prevent a receiver from running with the file.
    failures: Vec<String>,
    /// Problems that a receiver tolerates.
    warnings: Vec<String>,
    jobs: Vec<JobTargets>,
}

/// Checks the file. Problems beyond its syntax are in the report.
///
/// # Errors
/// Returns an error if the file cannot be read or parsed.
pub async fn check(args: &CheckArgs) -> Result<Report, ConfigError> {
    let config = Config::load(&args.file)?;
    let mut report = Report {
        summary: summary(&config),
        ..Report::default()
    };
    for scrape in &config.scrape_configs {
        for discovery in &scrape.discovery {
            if let DiscoveryConfig::Unsupported(mechanism) = discovery {
                let refused = DiscoveryError::Unsupported {
                    job: scrape.job_name.clone(),
                    mechanism: mechanism.clone(),
                };
                report.failures.push(refused.to_string());
            }
        }
    }
    if !args.syntax_only {
        // These depend on the environment.
        report
            .failures
            .extend(batch_context(&config, &[]).err().map(|e| e.to_string()));
        let FileProblems { failures, warnings } = FileProblems::of(&config);
        report.failures.extend(failures);
        report.warnings.extend(warnings);
    }
    if args.targets {
        let discovered = targets::discover(&config.scrape_configs, args.discovery_timeout);
        let (jobs, failures) = discovered.await;
        report.jobs = jobs;
        for failure in failures {
            if !report.failures.contains(&failure) {
                report.failures.push(failure);
            }
        }
    }
    Ok(report)
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
