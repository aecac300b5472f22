//! Translations of other scrapers' configurations into prometheus.yml and chart values.
//!
//! ```text
//! files ─▶ read ─▶ recognise ─▶ one translator per source ─▶ Part ─▶ output
//!                                        └─▶ Notes (parts without a counterpart)
//! ```
//!
//! - `recognise` decides what a document is. A translator makes a `Part`: sections of
//!   prometheus.yml. Several parts become one file.
//! - `placeholder` finds text that a template or a variable fills in. It stays, is commented
//!   out or is left out, and is always noted.
//! - The crate does no I/O.
//!
//! ```
//! use mesh_migrate::{Input, migrate};
//!
//! let text = "
//! receivers: {prometheus: {config: {scrape_configs: [{job_name: node}]}}}
//! processors: {filter: {}}
//! exporters: {prometheusremotewrite: {endpoint: \"https://example.com/write\"}}
//! service: {pipelines: {metrics: {receivers: [prometheus], processors: [filter],
//!                                 exporters: [prometheusremotewrite]}}}
//! ";
//! let input = Input { name: "collector.yaml".to_owned(), text: text.to_owned() };
//! let migration = migrate(&[input], &|_| None)?;
//! assert!(migration.prometheus.contains("job_name: node"));
//! assert!(migration.notes.iter().any(|note| note.place == "processors.filter"));
//! # Ok::<(), mesh_migrate::MigrateError>(())
//! ```

mod agent;
mod blocks;
mod collector;
mod input;
mod notes;
mod operator;
mod output;
mod part;
mod placeholder;
mod read;
mod recognise;
mod scraper;
mod value;
mod vmagent;

use std::{collections::BTreeMap, path::Path};

use mesh_model::config::Config;

use self::{input::Beside, recognise::Run};
pub use self::{
    input::{Input, ReadBeside},
    notes::{Note, Notes},
};

/// Sources that can be read, for error messages and help.
pub const SOURCES: &str =
    "  OpenTelemetry Collector and ADOT: configuration, ConfigMap, OpenTelemetryCollector resource
  vmagent: scrape file, compose file or manifest with its flags, VMAgent resource, chart values
  Prometheus and Prometheus agent: prometheus.yml, also in a ConfigMap
  Prometheus Operator: Prometheus or PrometheusAgent resource, values of kube-prometheus-stack
  AMP managed scraper: scrape configuration, answer of describe-scraper, Terraform
  Grafana Agent: static mode
  Grafana Alloy: lists the blocks to map by hand";

/// Sections that are copied, beside `global`, `scrape_configs` and `remote_write`.
const SECTIONS: [&str; 3] = ["runtime", "scrape_config_files", "otlp"];

/// Result of a translation.
#[derive(Clone, Debug)]
pub struct Migration {
    /// prometheus.yml. Jobs are empty if the source declares none.
    pub prometheus: String,
    /// Values of the chart, with the same prometheus.yml.
    pub values: String,
    /// Everything without an exact counterpart.
    pub notes: Notes,
}

/// Reason why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// The file is not valid YAML, JSON or base64.
    #[error("{name}: {message}")]
    Syntax {
        /// Name of the file.
        name: String,
        /// Line and reason.
        message: String,
    },
    /// No part of the files is a known source.
    #[error("{names}: not recognised; migrate can read:\n{SOURCES}")]
    Unrecognised {
        /// Names of the files.
        names: String,
    },
}

/// Translates the files into one configuration. `beside` reads a file that stands beside
/// them, by name.
///
/// # Errors
/// Returns an error if a file is not recognised or not valid.
pub fn migrate(inputs: &[Input], beside: ReadBeside<'_>) -> Result<Migration, MigrateError> {
    let given = |name: &str| {
        let same = |input: &&Input| Path::new(&input.name).file_name() == Some(name.as_ref());
        let input = inputs.iter().find(same).map(|input| input.text.clone());
        input.or_else(|| beside(name))
    };
    let entries = BTreeMap::new();
    let mut run = Run::new(Beside {
        entries,
        read: &given,
    });
    let sources = inputs.iter().filter(|input| !is_companion(input, inputs));
    for input in sources {
        let before = std::mem::take(&mut run.found);
        run.file(input)?;
        if !run.found {
            let names = input.name.clone();
            return Err(MigrateError::Unrecognised { names });
        }
        run.found |= before;
    }
    let Run {
        mut part,
        mut notes,
        ..
    } = run;
    part.sections.retain(|name, _| {
        let is_known = SECTIONS.contains(&name.as_str());
        if !is_known {
            notes.add(
                name,
                "left out: no section of prometheus.yml that promesh uses",
            );
        }
        is_known
    });
    part.rename_duplicates(&mut notes);
    part.cut_timeouts(&mut notes);
    let waiting = placeholder::collect(&mut part, &mut notes);
    if part.remote_write.is_empty() && waiting.is_empty() {
        let text = "the source names no destination (for AMP, a workspace): add remote_write";
        notes.add("remote_write", text);
    }
    let prometheus = output::prometheus(&part, &waiting);
    if let Err(error) = Config::parse(&prometheus, Path::new("prometheus.yml"), &|_| None) {
        notes.add(
            "check",
            format!("refuses the translation: {error}; correct it by hand"),
        );
    }
    let values = output::chart(&part, &waiting);
    Ok(Migration {
        prometheus,
        values,
        notes,
    })
}

/// Returns true if the flags of a vmagent in another input name this file, which is then read
/// with them.
fn is_companion(input: &Input, inputs: &[Input]) -> bool {
    let name = Path::new(&input.name).file_name();
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    inputs.iter().any(|other| {
        other.name != input.name
            && other.text.contains("promscrape.config=")
            && other.text.contains(name)
    })
}

#[cfg(test)]
mod tests;
