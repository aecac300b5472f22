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
    section::{Context, List, Problem, both, build_all, locations, place},
    text, yaml,
};
use crate::{
    config::{
        Config, ConfigError, LogLevel, Places, remote_write::OtlpConfig, scrape::ScrapeConfig,
    },
    labels::Labels,
    validation::{ValidationScheme, is_valid_legacy_label_name},
};

/// A configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct File {
    global: Option<Spanned<Option<Global>>>,
    runtime: Option<Runtime>,
    scrape_configs: List<Scrape>,
    scrape_config_files: Option<Vec<Spanned<String>>>,
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
///
/// The error has the first syntax or type error of each file, and all other problems. It has at
/// least one.
pub(super) fn parse(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<ConfigError>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let context = Context { folder, variable };
    let mut file: File = yaml::parse(text, path).map_err(|error| vec![error])?;
    let ignored_sections = file.ignored();
    let patterns = file.scrape_config_files.take().unwrap_or_default();
    let jobs = locations(&file.scrape_configs);
    let global = file.global.take();
    let at = global.as_ref().map(|global| global.referenced);
    let mut global = global.and_then(|global| global.value).unwrap_or_default();
    let external_labels = global.external_labels.take();
    let (inherited, contradiction) = global.inherit(context);
    let contradiction = contradiction.map_err(|problem| match at {
        Some(at) => problem.at(at),
        None => problem,
    });
    let built = both(
        contradiction,
        file.build(external_labels, &inherited, context, path),
    );
    // A file with problems still lends its settings to those that it names.
    let (mut config, mut errors) = match built {
        Ok(((), config)) => (config, Vec::new()),
        Err(problem) => (Config::empty(), problem.all_in_file(path)),
    };
    config.ignored_sections = ignored_sections;
    if errors.is_empty() {
        errors.extend(config.add_source(text, path, &jobs));
    }
    for pattern in patterns {
        let paths = matching(&context, &pattern.value);
        match paths.map_err(|problem| problem.at(pattern.referenced)) {
            Ok(paths) => {
                for path in paths {
                    let added = config.add_scrape_file(&path, &inherited, variable);
                    errors.extend(added.err().into_iter().flatten());
                }
            }
            Err(problem) => errors.extend(problem.all_in_file(path)),
        }
    }
    if errors.is_empty() {
        Ok(config)
    } else {
        Err(errors)
    }
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
    /// A configuration without jobs, to which the jobs of `scrape_config_files` are added.
    fn empty() -> Self {
        Self {
            external_labels: Labels::default(),
            empty_external_labels: Vec::new(),
            scrape_configs: Vec::new(),
            remote_write: Vec::new(),
            otlp: OtlpConfig::default(),
            log_level: None,
            ignored_sections: Vec::new(),
            sources: Vec::new(),
            places: Places::default(),
            warnings: Vec::new(),
        }
    }

    /// Adds the jobs of the file at `path`.
    fn add_scrape_file(
        &mut self,
        path: &Path,
        inherited: &Inherited,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Vec<ConfigError>> {
        let text = text::read(path).map_err(|error| vec![error])?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let context = Context { folder, variable };
        let file: ScrapeFile = yaml::parse(&text, path).map_err(|error| vec![error])?;
        let jobs = locations(&file.scrape_configs);
        let more = scrape_configs(file.scrape_configs, inherited, context)
            .map_err(|problem| problem.all_in_file(path))?;
        self.scrape_configs.extend(more);
        match self.add_source(&text, path, &jobs) {
            repeated if repeated.is_empty() => Ok(()),
            repeated => Err(repeated),
        }
    }

    /// Records the file at `path`, whose jobs are the last ones and begin at `jobs`. Returns an
    /// error for each job whose name is known already.
    fn add_source(&mut self, text: &str, path: &Path, jobs: &[Location]) -> Vec<ConfigError> {
        let mut repeated = Vec::new();
        let first = self.scrape_configs.len() - jobs.len();
        for (config, at) in self.scrape_configs[first..].iter().zip(jobs) {
            let name = &config.job_name;
            let known = &mut self.places.jobs;
            if let Some(first) = known.insert(name.clone(), place(path, *at)) {
                let problem = Problem::new(format!(
                    "found multiple scrape configs with job name {name:?}, the first at {first}"
                ));
                repeated.push(problem.at(*at).in_file(path));
            }
        }
        self.warnings.extend(yaml::ignored_document(text, path));
        self.sources.push(path.to_owned());
        repeated
    }
}

// === impl File ===

impl File {
    fn build(
        self,
        external_labels: Option<BTreeMap<String, Spanned<String>>>,
        inherited: &Inherited,
        context: Context<'_>,
        path: &Path,
    ) -> Result<Config, Problem> {
        let external = ExternalLabels::expand(external_labels, context);
        let validation = inherited.validation;
        let destinations = locations(&self.remote_write);
        let remote_write = build_all(self.remote_write, "remote write config section", |rw| {
            rw.build(validation, context)
        });
        let otlp = match self.otlp {
            Some(otlp) => otlp
                .value
                .unwrap_or_default()
                .build(validation)
                .map_err(|problem| problem.at(otlp.referenced)),
            None => Otlp::default().build(ValidationScheme::Utf8),
        };
        let jobs = scrape_configs(self.scrape_configs, inherited, context);
        let ((external, remote_write), (otlp, scrape_configs)) =
            both(both(external, remote_write), both(otlp, jobs))?;
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
        Ok(Config {
            external_labels: external.labels,
            empty_external_labels: external.empty,
            scrape_configs,
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
        })
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
