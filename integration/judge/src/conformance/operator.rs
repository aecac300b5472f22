//! Scrape configurations of prometheus-operator's custom resources.

pub(super) mod cases;
mod normal;
pub(super) mod rejects;
pub(super) mod selection;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use mesh_monitors::{
    Data, Kind, Materials, Mode, Monitor, Reference, Settings, Shown, Source, Yaml, generate,
};
use serde_json::Value;

use super::cases as files;

/// Fields of a case with the objects of each kind.
const OBJECTS: [(&str, Kind); 4] = [
    ("service_monitors", Kind::ServiceMonitor),
    ("pod_monitors", Kind::PodMonitor),
    ("probes", Kind::Probe),
    ("scrape_configs", Kind::ScrapeConfig),
];

/// The Secrets and ConfigMaps of a case.
struct Stored(BTreeMap<Reference, Arc<Data>>);

/// Reads a file of the suite. Its cases have `$TMP` in place of the path of a file.
fn rows(suites: &Path, file: &str) -> anyhow::Result<Vec<Value>> {
    let rows = files::rows(&suites.join("operator").join(file))?;
    let paths = rows.into_iter().map(|row| {
        let text = row.to_string().replace("$TMP", "/tmp/suite.yml");
        serde_json::from_str(&text)
    });
    Ok(paths.collect::<Result<_, _>>()?)
}

fn settings(case: &Value) -> Result<Settings, String> {
    let mut settings =
        Settings::read(&case["prometheus"]).map_err(|invalid| invalid.to_string())?;
    settings.endpoint_slices = case["operator_flags"]["endpoint_slice_supported"] == true;
    Ok(settings)
}

/// Returns the monitors of a kind, in the order of their jobs.
fn monitors(case: &Value, kind: Kind) -> Result<Vec<Monitor>, String> {
    let field = OBJECTS.iter().find(|(_, of)| *of == kind);
    let field = field.map_or("", |(field, _)| field);
    let objects = files::list(&case[field]).iter();
    let read = objects.map(|object| Monitor::read(kind, object));
    let mut monitors = read
        .collect::<Result<Vec<_>, _>>()
        .map_err(|invalid| invalid.to_string())?;
    monitors.sort_by_key(|monitor| format!("{}/{}", monitor.namespace, monitor.name));
    Ok(monitors)
}

/// Generates the jobs of all monitors that `keep` selects, in the Operator's order.
fn jobs(
    case: &Value,
    settings: &Settings,
    stored: &Stored,
    keep: impl Fn(&Monitor) -> bool,
) -> Result<Vec<Value>, String> {
    let additional = additional(case)?;
    let mut jobs = Vec::new();
    for kind in settings.kinds() {
        for monitor in monitors(case, *kind)?
            .iter()
            .filter(|monitor| keep(monitor))
        {
            let generated = generate(monitor, settings, stored);
            let generated = generated.map_err(|invalid| format!("{monitor}: {invalid}"))?;
            jobs.extend(generated.iter().map(Yaml::to_value));
        }
        // An agent has them after the PodMonitors.
        if settings.mode != Mode::Server && *kind == Kind::PodMonitor {
            jobs.extend(additional.iter().cloned());
        }
    }
    if settings.mode == Mode::Server {
        jobs.extend(additional);
    }
    Ok(jobs)
}

/// Reads the jobs of `additionalScrapeConfigs`, which the Operator copies.
fn additional(case: &Value) -> Result<Vec<Value>, String> {
    match case["additional_scrape_configs"].as_str() {
        Some(text) => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
        None => Ok(Vec::new()),
    }
}

/// The form of a job for comparisons.
trait ToValue {
    fn to_value(&self) -> Value;
}

impl ToValue for Yaml {
    fn to_value(&self) -> Value {
        self.to_json(Shown::WithSecrets)
    }
}

// === impl Stored ===

impl Stored {
    fn of(case: &Value) -> Self {
        let sources = [
            (Source::Secret, "secrets"),
            (Source::ConfigMap, "config_maps"),
        ];
        let all = sources.into_iter().flat_map(|(source, field)| {
            let objects = case[field].as_object().into_iter().flatten();
            objects.filter_map(move |(name, values)| {
                let (namespace, name) = name.split_once('/')?;
                let values = values.as_object()?.iter();
                let values = values
                    .map(|(key, value)| (key.clone(), files::text(value).as_bytes().to_vec()));
                let reference = Reference {
                    source,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                };
                Some((reference, Arc::new(Data(values.collect()))))
            })
        });
        Self(all.collect())
    }
}

impl Materials for Stored {
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String> {
        self.0
            .get(reference)
            .cloned()
            .ok_or_else(|| "not found".to_owned())
    }
}
