//! `receiver-svc check`: what is wrong with a configuration file, and what would
//! be scraped with it. Nothing is scraped and nothing is sent.

mod files;
mod targets;

use std::{fmt, path::PathBuf, time::Duration};

use clap::Parser;
use mesh::{
    config::{Config, ConfigError, discovery::DiscoveryConfig},
    telemetry::LogArgs,
};

use self::{files::Files, targets::JobTargets};
use crate::facts::facts;

/// Checks a Prometheus configuration file.
///
/// Says what is wrong with it, or what it has. Files that it names have to be
/// there, unless only its syntax is checked. The exit code is 0 where a receiver
/// can work with it, 1 where it cannot, 2 where the command line is wrong.
#[derive(Clone, Debug, Parser)]
#[command(name = "check")]
pub struct CheckArgs {
    /// The configuration file.
    pub file: PathBuf,

    /// Check the file alone, not those that it names.
    #[arg(long = "syntax-only", conflicts_with = "targets")]
    pub syntax_only: bool,

    /// List what would be scraped, with all labels, and what relabeling drops.
    /// Targets that are not in files are discovered once.
    #[arg(long = "targets")]
    pub targets: bool,

    /// Seconds that one round of discovery may take.
    #[arg(
        long = "discovery.timeout",
        env = "PROMESH_DISCOVERY_TIMEOUT",
        default_value_t = 10
    )]
    pub discovery_timeout_seconds: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}

/// What is to be said of a configuration file that can be read.
#[derive(Debug, Default)]
pub struct Report {
    summary: String,
    /// What a receiver cannot work with.
    failures: Vec<String>,
    /// What it works with, perhaps otherwise than hoped for.
    warnings: Vec<String>,
    jobs: Vec<JobTargets>,
}

/// Checks the file.
///
/// # Errors
/// Where it means nothing. What else is wrong is in the report.
pub async fn check(args: &CheckArgs) -> Result<Report, ConfigError> {
    let config = Config::load(&args.file)?;
    let mut report = Report {
        summary: summary(&config),
        ..Report::default()
    };
    for scrape in &config.scrape_configs {
        for discovery in &scrape.discovery {
            if let DiscoveryConfig::Unsupported(mechanism) = discovery {
                let job = &scrape.job_name;
                report.warnings.push(format!(
                    "job {job:?}: {mechanism} is not supported, a receiver does not start with it; use http_sd_configs or file_sd_configs with an adapter that writes its targets"
                ));
            }
        }
    }
    if !args.syntax_only {
        // The environment has a part in them.
        report
            .failures
            .extend(facts(&config, &[]).err().map(|e| e.to_string()));
        let Files { failures, warnings } = Files::of(&config);
        report.failures.extend(failures);
        report.warnings.extend(warnings);
    }
    if args.targets {
        let timeout = Duration::from_secs(args.discovery_timeout_seconds);
        let (jobs, failures) = targets::discover(&config.scrape_configs, timeout).await;
        report.jobs = jobs;
        report.failures.extend(failures);
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
        text.push_str(&format!("; left to others: {sections}"));
    }
    text
}

// === impl Report ===

impl Report {
    /// Whether a receiver can work with the file.
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
