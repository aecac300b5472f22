//! A target: from what discovery knows to what is scraped.

use std::{path::PathBuf, time::Duration};

use mesh::{
    config::{
        discovery::TargetGroup,
        duration::{self, ParseDurationError},
        scrape::ScrapeConfig,
    },
    labels::{ADDRESS, INSTANCE, JOB, Labels, LabelsBuilder},
    relabel::relabel,
};

use crate::exposition::ParserOptions;

mod url;

/// Labels that a target is described by; none of them reaches a sample.
const RESERVED: &str = "__";
/// Labels from discovery, which end with relabeling.
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

/// Something to scrape.
#[derive(Clone, Debug)]
pub struct Target {
    /// As discovered, with the configuration's defaults, before relabeling.
    pub discovered: Labels,
    /// After relabeling.
    pub labels: Labels,
    /// Those that its samples get.
    pub public: Labels,
    /// What is asked.
    pub url: String,
    /// The Unix socket that it is asked over, if not TCP.
    pub unix_socket: Option<PathBuf>,
    /// Time from one scrape to the next.
    pub interval: Duration,
    /// Time that a scrape may take.
    pub timeout: Duration,
    /// The same for the same target in every process: it decides who scrapes it
    /// and when.
    pub identity: u64,
}

/// What a discovered target turns out to be.
#[derive(Clone, Debug)]
pub enum Populated {
    /// To be scraped.
    Kept(Box<Target>),
    /// Relabeling dropped it; its labels before that.
    Dropped(Labels),
}

/// A target that cannot be scraped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has no address.
    #[error("no address")]
    NoAddress,
    /// Its address is not only a host and a port.
    #[error("{0:?} is not a valid hostname, expected HOST or HOST:PORT")]
    Address(String),
    /// Its interval or timeout is not a duration.
    #[error("error parsing scrape {what}: {source}")]
    Duration {
        /// `interval` or `timeout`.
        what: &'static str,
        /// What is wrong with it.
        source: ParseDurationError,
    },
    /// Its interval or timeout is zero.
    #[error("scrape {0} cannot be 0")]
    Zero(&'static str),
    /// It may take longer than the time to the next scrape.
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    TimeoutBeyondInterval {
        /// The timeout.
        timeout: String,
        /// The interval.
        interval: String,
    },
    /// A label that switches something is neither true nor false.
    #[error("error parsing {label}: {value:?}, expected true or false")]
    Bool {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
}

/// What a discovered target is, by its own labels and those of its group.
///
/// # Errors
/// Where it can not be scraped.
pub fn populate(
    config: &ScrapeConfig,
    group: &TargetGroup,
    target: &Labels,
) -> Result<Populated, TargetError> {
    let mut builder = discovered(config, group, target);
    let discovered = builder.clone().build();
    if !relabel(&config.relabel_configs, &mut builder) {
        return Ok(Populated::Dropped(discovered));
    }
    let address = builder.get(ADDRESS).ok_or(TargetError::NoAddress)?;
    if address.contains('/') {
        return Err(TargetError::Address(address.to_owned()));
    }
    let (interval, timeout) = times(&builder)?;
    for label in [TO_NHCB, CLASSIC, NATIVE] {
        switch(&builder, label)?;
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
        return Ok(Populated::Dropped(discovered));
    }
    let url = url::of(&labels, &config.params);
    Ok(Populated::Kept(Box::new(Target {
        identity: identity(&labels, &url),
        unix_socket: labels.get(UNIX_SOCKET).map(PathBuf::from),
        discovered,
        labels,
        public,
        url,
        interval,
        timeout,
    })))
}

/// The labels of a target before relabeling: its own, its group's, and what the
/// configuration says where they say nothing.
fn discovered(config: &ScrapeConfig, group: &TargetGroup, target: &Labels) -> LabelsBuilder {
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

/// Whether a label is on, in the words that Go knows for it; `None` where it is
/// not there.
fn switch(labels: &LabelsBuilder, label: &'static str) -> Result<Option<bool>, TargetError> {
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
    /// How its bodies are read: as its job says, unless its own labels say
    /// otherwise.
    pub fn parser(&self, job: ParserOptions) -> ParserOptions {
        let labels = self.labels.to_builder();
        let or = |label, otherwise| switch(&labels, label).ok().flatten().unwrap_or(otherwise);
        ParserOptions {
            native_histograms: or(NATIVE, job.native_histograms),
            classic_to_nhcb: or(TO_NHCB, job.classic_to_nhcb),
            keep_classic: or(CLASSIC, job.keep_classic),
            ..job
        }
    }
}
