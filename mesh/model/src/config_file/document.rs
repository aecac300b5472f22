//! The whole configuration file, and the `scrape_config_files` that it names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use super::{
    expand::expand,
    remote_write::{Otlp, RemoteWrite},
    scalar::Text,
    scrape::{Global, Inherited, Scrape},
    section::{Context, List, Problem, build_all, locations, place},
    text, yaml,
};
use crate::{
    config::{Config, ConfigError, LogLevel, Places, scrape::ScrapeConfig},
    labels::Labels,
    validation::{ValidationScheme, is_valid_legacy_label_name},
};

/// A configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct File {
    global: Option<Global>,
    runtime: Option<Runtime>,
    scrape_configs: List<Scrape>,
    scrape_config_files: Option<Vec<String>>,
    remote_write: List<RemoteWrite>,
    otlp: Option<Spanned<Option<Otlp>>>,
    // Sections of Prometheus that promesh ignores.
    rule_files: Option<IgnoredAny>,
    alerting: Option<IgnoredAny>,
    remote_read: Option<IgnoredAny>,
    storage: Option<IgnoredAny>,
    tracing: Option<IgnoredAny>,
}

/// `runtime`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Runtime {
    log_level: Option<Text<LogLevel>>,
    // Setting of Go's garbage collector. Accepted and ignored.
    #[serde(rename = "gogc")]
    _gogc: Option<i64>,
}

/// A file of `scrape_config_files` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScrapeFile {
    scrape_configs: List<Scrape>,
}

/// The external labels, with variables expanded.
#[derive(Debug, Default)]
struct ExternalLabels {
    labels: Labels,
    /// Names of the labels whose value is empty. They are not part of `labels`.
    empty: Vec<String>,
    /// Names of the labels and places of their values.
    locations: Vec<(String, Location)>,
    /// Variables that have no value.
    unset: Vec<Problem>,
}

/// Parses `text`, the contents of the file at `path`, and loads the files that it names.
pub(super) fn parse(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let context = Context { folder, variable };
    let mut file: File = yaml::parse(text, path)?;
    let ignored_sections = file.ignored();
    let patterns = file.scrape_config_files.take().unwrap_or_default();
    let jobs = locations(&file.scrape_configs);
    let in_file = |problem: Problem| problem.in_file(path);
    let (mut config, inherited) = file.build(context, path).map_err(in_file)?;
    config.ignored_sections = ignored_sections;
    config.add_source(text, path, &jobs)?;
    for pattern in patterns {
        for path in matching(&context, &pattern).map_err(in_file)? {
            let text = text::read(&path)?;
            let folder = path.parent().unwrap_or(Path::new(""));
            let context = Context { folder, variable };
            let file: ScrapeFile = yaml::parse(&text, &path)?;
            let jobs = locations(&file.scrape_configs);
            let more = scrape_configs(file.scrape_configs, &inherited, context)
                .map_err(|problem| problem.in_file(&path))?;
            config.scrape_configs.extend(more);
            config.add_source(&text, &path, &jobs)?;
        }
    }
    Ok(config)
}

fn scrape_configs(
    list: List<Scrape>,
    inherited: &Inherited,
    context: Context<'_>,
) -> Result<Vec<ScrapeConfig>, Problem> {
    build_all(list, "scrape config section", |scrape| {
        scrape.build(inherited, context)
    })
}

/// Returns the paths that match `pattern`, a glob relative to the file's folder.
pub(super) fn matching(context: &Context<'_>, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
    let bad = |why: String| {
        Problem::new(format!(
            "invalid scrape config file path {pattern:?}: {why}"
        ))
    };
    // Prometheus allows wildcards only in the last part of a path.
    if let Some((folder, _)) = pattern.rsplit_once('/')
        && folder.contains('*')
    {
        return Err(bad("a * is allowed only in the last part".to_owned()));
    }
    let full = context.path(pattern);
    let paths = glob::glob(&full.to_string_lossy()).map_err(|error| bad(error.to_string()))?;
    paths
        .map(|path| path.map_err(|error| bad(error.to_string())))
        .collect()
}

// === impl Config ===

impl Config {
    /// Records the file at `path`, whose jobs are the last ones and begin at `jobs`.
    fn add_source(
        &mut self,
        text: &str,
        path: &Path,
        jobs: &[Location],
    ) -> Result<(), ConfigError> {
        let first = self.scrape_configs.len() - jobs.len();
        for (config, at) in self.scrape_configs[first..].iter().zip(jobs) {
            let name = &config.job_name;
            let known = &mut self.places.jobs;
            if let Some(first) = known.insert(name.clone(), place(path, *at)) {
                let problem = Problem::new(format!(
                    "found multiple scrape configs with job name {name:?}, the first at {first}"
                ));
                return Err(problem.at(*at).in_file(path));
            }
        }
        self.warnings.extend(yaml::ignored_document(text, path));
        self.sources.push(path.to_owned());
        Ok(())
    }
}

// === impl File ===

impl File {
    fn build(self, context: Context<'_>, path: &Path) -> Result<(Config, Inherited), Problem> {
        let mut global = self.global.unwrap_or_default();
        let external = ExternalLabels::expand(global.external_labels.take(), context)?;
        let inherited = global.inherit(context)?;
        let validation = inherited.validation;
        let destinations = locations(&self.remote_write);
        let remote_write = build_all(self.remote_write, "remote write config section", |rw| {
            rw.build(validation, context)
        })?;
        let mut places = Places::default();
        for (destination, at) in remote_write.iter().zip(destinations) {
            let name = &destination.name;
            let known = &mut places.destinations;
            if let Some(first) = known.insert(name.clone(), place(path, at)) {
                let problem = Problem::new(format!(
                    "found multiple remote write configs with job name {name:?}, the first at {first}"
                ));
                return Err(problem.at(at));
            }
        }
        let labels = external.locations.into_iter();
        places.external_labels = labels.map(|(name, at)| (name, place(path, at))).collect();
        let otlp = match self.otlp {
            Some(otlp) => otlp
                .value
                .unwrap_or_default()
                .build(validation)
                .map_err(|problem| problem.at(otlp.referenced))?,
            None => Otlp::default().build(ValidationScheme::Utf8)?,
        };
        let config = Config {
            external_labels: external.labels,
            empty_external_labels: external.empty,
            scrape_configs: scrape_configs(self.scrape_configs, &inherited, context)?,
            remote_write,
            otlp,
            log_level: self
                .runtime
                .unwrap_or_default()
                .log_level
                .map(|level| level.0),
            ignored_sections: Vec::new(),
            sources: Vec::new(),
            places,
            warnings: external
                .unset
                .into_iter()
                .map(|problem| problem.warning(path))
                .collect(),
        };
        Ok((config, inherited))
    }

    fn ignored(&self) -> Vec<String> {
        let sections = [
            ("rule_files", self.rule_files.is_some()),
            ("alerting", self.alerting.is_some()),
            ("remote_read", self.remote_read.is_some()),
            ("storage", self.storage.is_some()),
            ("tracing", self.tracing.is_some()),
        ];
        let given = sections.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| name.to_owned()).collect()
    }
}

// === impl ExternalLabels ===

impl ExternalLabels {
    fn expand(
        labels: Option<BTreeMap<String, Spanned<String>>>,
        context: Context<'_>,
    ) -> Result<Self, Problem> {
        let mut expanded = Vec::new();
        let mut external = Self::default();
        for (name, value) in labels.unwrap_or_default() {
            let at = value.referenced;
            if !is_valid_legacy_label_name(&name) {
                let message = format!("external_labels: {name:?} is not a valid label name");
                return Err(Problem::new(message).at(at));
            }
            let value = expand(&value.value, |variable| {
                let value = (context.variable)(variable).unwrap_or_default();
                if value.is_empty() {
                    let message = format!(
                        "external_labels: {name}: the environment variable {variable} is not set or empty, it expands to nothing"
                    );
                    external.unset.push(Problem::new(message).at(at));
                }
                value
            });
            external.locations.push((name.clone(), at));
            match value.is_empty() {
                true => external.empty.push(name),
                false => expanded.push((name, value)),
            }
        }
        external.labels = expanded.into_iter().collect();
        Ok(external)
    }
}
