//! Targets: from discovered labels to a URL to scrape.

use std::{path::PathBuf, time::Duration};

use mesh_model::{
    config::{
        discovery::TargetGroup,
        duration::{self, ParseDurationError},
        scrape::ScrapeConfig,
    },
    labels::{ADDRESS, INSTANCE, JOB, Labels, LabelsBuilder},
    relabel::relabel,
};

use crate::exposition::ParserOptions;

pub(super) mod uri;
mod url;

/// Prefix of labels that describe a target. Samples do not get them.
const RESERVED: &str = "__";
/// Prefix of discovery labels, which are removed after relabeling.
const META: &str = "__meta_";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const NATIVE: &str = "__scrape_native_histograms__";
const CLASSIC: &str = "__always_scrape_classic_histograms__";
const TO_NHCB: &str = "__convert_classic_histograms_to_nhcb__";
const PARAM: &str = "__param_";
const UNIX_SOCKET: &str = "__unix_socket__";

/// Target to scrape.
#[derive(Clone, Debug)]
pub struct Target {
    /// Labels after relabeling.
    pub labels: Labels,
    /// Labels that the samples of the target get.
    pub public: Labels,
    /// URL of the metrics.
    pub url: String,
    /// Unix socket to connect to; `None` for TCP.
    pub unix_socket: Option<PathBuf>,
    /// Scrape interval.
    pub interval: Duration,
    /// Scrape timeout.
    pub timeout: Duration,
    /// Hash of the labels and the URL, equal in all processes. It determines the owner of
    /// the target and its schedule.
    pub identity: u64,
}

/// Result of relabeling a discovered target.
#[derive(Clone, Debug)]
pub enum Populated {
    /// Target to scrape.
    Active(Box<Target>),
    /// Target that relabeling dropped.
    Dropped,
}

/// Invalid target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Missing `__address__` label.
    #[error("no address")]
    NoAddress,
    /// Address that is not a host with an optional port.
    #[error("{0:?} is not a valid hostname, expected HOST or HOST:PORT")]
    Address(String),
    /// Interval or timeout that is not a duration.
    #[error("error parsing scrape {what}: {source}")]
    Duration {
        /// `interval` or `timeout`.
        what: &'static str,
        /// Parse error.
        source: ParseDurationError,
    },
    /// Interval or timeout of zero.
    #[error("scrape {0} cannot be 0")]
    Zero(&'static str),
    /// Timeout longer than the interval.
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    TimeoutBeyondInterval {
        /// Scrape timeout.
        timeout: String,
        /// Scrape interval.
        interval: String,
    },
    /// Label with a value other than true or false.
    #[error("error parsing {label}: {value:?}, expected true or false")]
    Bool {
        /// Label name.
        label: &'static str,
        /// Label value.
        value: String,
    },
}

/// Builds a target from its own labels and those of its group, and relabels it.
///
/// # Errors
/// Returns an error if the target is invalid.
pub fn populate(
    config: &ScrapeConfig,
    group: &TargetGroup,
    target: &Labels,
) -> Result<Populated, TargetError> {
    let mut builder = labels_before_relabeling(config, group, target);
    if !relabel(&config.relabel_configs, &mut builder) {
        return Ok(Populated::Dropped);
    }
    let address = builder.get(ADDRESS).ok_or(TargetError::NoAddress)?;
    if address.contains('/') {
        return Err(TargetError::Address(address.to_owned()));
    }
    let (interval, timeout) = times(&builder)?;
    for label in [TO_NHCB, CLASSIC, NATIVE] {
        parse_bool(&builder, label)?;
    }
    if builder.get(INSTANCE).is_none() {
        let address = address.to_owned();
        builder.set(INSTANCE, address);
    }
    builder.retain(|name, _| !name.starts_with(META));
    let labels = builder.build();
    let public: Labels = labels
        .iter()
        .filter(|(name, _)| !name.starts_with(RESERVED))
        .collect();
    if public.is_empty() {
        return Ok(Populated::Dropped);
    }
    let url = url::of(&labels, &config.params);
    Ok(Populated::Active(Box::new(Target {
        identity: identity(&labels, &url),
        unix_socket: labels.get(UNIX_SOCKET).map(PathBuf::from),
        labels,
        public,
        url,
        interval,
        timeout,
    })))
}

/// Returns the labels of a target before relabeling: its own labels, then those of its
/// group, then the defaults of the configuration.
pub fn labels_before_relabeling(
    config: &ScrapeConfig,
    group: &TargetGroup,
    target: &Labels,
) -> LabelsBuilder {
    let mut labels = target.to_builder();
    for (name, value) in group
        .labels
        .iter()
        .filter(|(name, _)| !target.contains(name))
    {
        labels.set(name, value);
    }
    let params = config
        .params
        .iter()
        .filter_map(|(name, values)| Some((format!("{PARAM}{name}"), values.first()?.clone())));
    let defaults = [
        (JOB, config.job_name.clone()),
        (INTERVAL, duration::format(config.scrape_interval)),
        (TIMEOUT, duration::format(config.scrape_timeout)),
        (METRICS_PATH, config.metrics_path.clone()),
        (SCHEME, config.scheme.clone()),
        (
            TO_NHCB,
            config.convert_classic_histograms_to_nhcb.to_string(),
        ),
        (CLASSIC, config.always_scrape_classic_histograms.to_string()),
        (NATIVE, config.scrape_native_histograms.to_string()),
    ];
    let defaults = defaults.map(|(name, value)| (name.to_owned(), value));
    for (name, value) in defaults.into_iter().chain(params) {
        if labels.get(&name).is_none() {
            labels.set(name, value);
        }
    }
    labels
}

fn times(labels: &LabelsBuilder) -> Result<(Duration, Duration), TargetError> {
    let text = |label| labels.get(label).unwrap_or_default();
    let parse = |label, what| {
        let duration = duration::parse(text(label));
        let duration = duration.map_err(|source| TargetError::Duration { what, source })?;
        (!duration.is_zero())
            .then_some(duration)
            .ok_or(TargetError::Zero(what))
    };
    let (interval, timeout) = (parse(INTERVAL, "interval")?, parse(TIMEOUT, "timeout")?);
    if timeout > interval {
        return Err(TargetError::TimeoutBeyondInterval {
            timeout: text(TIMEOUT).to_owned(),
            interval: text(INTERVAL).to_owned(),
        });
    }
    Ok((interval, timeout))
}

/// Parses a boolean label as Go's `strconv.ParseBool` does. Returns `None` if the label
/// is missing.
fn parse_bool(labels: &LabelsBuilder, label: &'static str) -> Result<Option<bool>, TargetError> {
    match labels.get(label) {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(value) => Err(TargetError::Bool {
            label,
            value: value.to_owned(),
        }),
    }
}

fn identity(labels: &Labels, url: &str) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&labels.stable_hash().to_le_bytes());
    hasher.update(url.as_bytes());
    hasher.digest()
}

// === impl Target ===

impl Target {
    /// Returns the parser options of the job, overridden by the labels of the target.
    pub fn parser(&self, job: ParserOptions) -> ParserOptions {
        let labels = self.labels.to_builder();
        let or = |label, otherwise| {
            parse_bool(&labels, label)
                .ok()
                .flatten()
                .unwrap_or(otherwise)
        };
        ParserOptions {
            native_histograms: or(NATIVE, job.native_histograms),
            classic_to_nhcb: or(TO_NHCB, job.classic_to_nhcb),
            keep_classic: or(CLASSIC, job.keep_classic),
            ..job
        }
    }
}
