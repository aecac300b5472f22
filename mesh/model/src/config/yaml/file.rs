//! The whole file, and the files it names.

use crate::validation::ValidationScheme;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_saphyr::Spanned;

use super::{
    Context, List, Problem, build_all,
    remote_write::{Otlp, RemoteWrite},
    scrape::{Global, Inherited, Scrape},
};
use crate::{
    config::{Config, ConfigError, expand::expand, scrape::ScrapeConfig},
    labels::Labels,
    validation::is_valid_legacy_label_name,
};

/// Names that an alias may expand to at most: far more than any real file needs,
/// far less than a malicious one makes.
const MAX_ALIAS_EXPANSION: usize = 100_000;

/// Comments in a row that a file may have.
const MAX_COMMENTS: usize = 100_000;

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    global: Option<Global>,
    scrape_configs: List<Scrape>,
    scrape_config_files: Option<Vec<String>>,
    remote_write: List<RemoteWrite>,
    otlp: Option<Spanned<Option<Otlp>>>,
    // What belongs to others.
    rule_files: Option<IgnoredAny>,
    alerting: Option<IgnoredAny>,
    remote_read: Option<IgnoredAny>,
    storage: Option<IgnoredAny>,
    tracing: Option<IgnoredAny>,
    runtime: Option<IgnoredAny>,
}

/// A file of `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScrapeFile {
    scrape_configs: List<Scrape>,
}

/// Reads `text`, the contents of the file at `path`.
pub(in crate::config) fn load(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let context = Context { folder, variable };
    let mut file: File = read(text, path)?;
    let ignored_sections = file.ignored();
    let patterns = file.scrape_config_files.take().unwrap_or_default();
    let (mut config, inherited) = file
        .build(context)
        .map_err(|problem| ConfigError::in_file(path, problem))?;
    config.ignored_sections = ignored_sections;
    config.sources.push(path.to_owned());
    let mut jobs = Jobs::default();
    jobs.add(&config.scrape_configs, path)?;
    for pattern in patterns {
        for path in matching(&context, &pattern).map_err(|p| ConfigError::in_file(path, p))? {
            let more = scrape_file(&path, &inherited, variable)?;
            jobs.add(&more, &path)?;
            config.scrape_configs.extend(more);
            config.sources.push(path);
        }
    }
    Ok(config)
}

fn scrape_file(
    path: &Path,
    inherited: &Inherited,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let context = Context { folder, variable };
    let file: ScrapeFile = read(&text, path)?;
    scrape_configs(file.scrape_configs, inherited, context)
        .map_err(|problem| ConfigError::in_file(path, problem))
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

/// Parses YAML; an empty document has every default.
pub(super) fn read<T: DeserializeOwned + Default>(
    text: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    let mut options = serde_saphyr::Options::default();
    // A snippet could show a secret.
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = MAX_ALIAS_EXPANSION;
    // Real files have whole sections commented out.
    let mut budget = serde_saphyr::Budget::default();
    budget.max_buffered_comment_events = MAX_COMMENTS;
    options.budget = Some(budget);
    let parsed: Result<Option<T>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map(Option::unwrap_or_default).map_err(|error| {
        let problem = Problem {
            location: error.location(),
            message: without_place(&error.to_string()).to_owned(),
        };
        ConfigError::in_file(path, problem)
    })
}

/// The parser's message without the place, which is in the error already.
fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

fn matching(context: &Context<'_>, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
    let bad = |why: String| {
        Problem::new(format!(
            "invalid scrape config file path {pattern:?}: {why}"
        ))
    };
    // Prometheus takes wildcards in the last part of a path only.
    if let Some((folder, _)) = pattern.rsplit_once('/')
        && folder.contains('*')
    {
        return Err(bad("a * is allowed in the last part only".to_owned()));
    }
    let full = context.path(pattern);
    let paths = glob::glob(&full.to_string_lossy()).map_err(|error| bad(error.to_string()))?;
    paths
        .map(|path| path.map_err(|error| bad(error.to_string())))
        .collect()
}

/// Where each job name was first seen.
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
                return Err(ConfigError::in_file(path, problem));
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
            ("runtime", self.runtime.is_some()),
        ];
        let given = sections.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| name.to_owned()).collect()
    }
}

/// The external labels, and the names of those that are empty.
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
