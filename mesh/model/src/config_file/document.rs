//! The whole configuration file, and the `scrape_config_files` that it names.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{
    expand::expand,
    remote_write::{Otlp, RemoteWrite},
    scalar::Text,
    scrape::{Global, Inherited, Scrape},
    section::{Context, List, Problem, build_all},
    text, yaml,
};
use crate::{
    config::{Config, ConfigError, LogLevel, scrape::ScrapeConfig},
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
    let (mut config, inherited) = file
        .build(context)
        .map_err(|problem| problem.in_file(path))?;
    config.ignored_sections = ignored_sections;
    config.sources.push(path.to_owned());
    let mut jobs = Jobs::default();
    jobs.add(&config.scrape_configs, path)?;
    for pattern in patterns {
        for path in matching(&context, &pattern).map_err(|problem| problem.in_file(path))? {
            let more = load_scrape_file(&path, &inherited, variable)?;
            jobs.add(&more, &path)?;
            config.scrape_configs.extend(more);
            config.sources.push(path);
        }
    }
    Ok(config)
}

fn load_scrape_file(
    path: &Path,
    inherited: &Inherited,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let text = text::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let context = Context { folder, variable };
    let file: ScrapeFile = yaml::parse(&text, path)?;
    scrape_configs(file.scrape_configs, inherited, context).map_err(|problem| problem.in_file(path))
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
fn matching(context: &Context<'_>, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
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

/// Maps each job name to the file that defines it, to reject duplicates.
#[derive(Default)]
struct Jobs(HashMap<String, PathBuf>);

// === impl Jobs ===

impl Jobs {
    fn add(&mut self, configs: &[ScrapeConfig], path: &Path) -> Result<(), ConfigError> {
        for config in configs {
            let name = &config.job_name;
            if let Some(first) = self.0.insert(name.clone(), path.to_owned()) {
                let problem = Problem::new(format!(
                    "found multiple scrape configs with job name {name:?}, the first in {}",
                    first.display()
                ));
                return Err(problem.in_file(path));
            }
        }
        Ok(())
    }
}

// === impl File ===

impl File {
    fn build(self, context: Context<'_>) -> Result<(Config, Inherited), Problem> {
        let mut global = self.global.unwrap_or_default();
        let (external_labels, empty_external_labels) =
            external_labels(global.external_labels.take(), context)?;
        let inherited = global.inherit(context)?;
        let validation = inherited.validation;
        let remote_write = build_all(self.remote_write, "remote write config section", |rw| {
            rw.build(validation, context)
        })?;
        for (i, destination) in remote_write.iter().enumerate() {
            let name = &destination.name;
            if remote_write[..i].iter().any(|other| other.name == *name) {
                return Err(Problem::new(format!(
                    "found multiple remote write configs with job name {name:?}"
                )));
            }
        }
        let otlp = match self.otlp {
            Some(otlp) => otlp
                .value
                .unwrap_or_default()
                .build(validation)
                .map_err(|problem| problem.at(otlp.referenced))?,
            None => Otlp::default().build(ValidationScheme::Utf8)?,
        };
        let config = Config {
            external_labels,
            empty_external_labels,
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

/// Expands the external labels. Returns the labels, and the names of those with an empty
/// value.
fn external_labels(
    labels: Option<BTreeMap<String, String>>,
    context: Context<'_>,
) -> Result<(Labels, Vec<String>), Problem> {
    let mut expanded = Vec::new();
    let mut empty = Vec::new();
    for (name, value) in labels.unwrap_or_default() {
        if !is_valid_legacy_label_name(&name) {
            return Err(Problem::new(format!(
                "external_labels: {name:?} is not a valid label name"
            )));
        }
        match expand(&value, context.variable) {
            value if value.is_empty() => empty.push(name),
            value => expanded.push((name, value)),
        }
    }
    Ok((expanded.into_iter().collect(), empty))
}
