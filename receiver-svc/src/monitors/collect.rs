//! Selects monitors and turns them into scrape configurations.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use mesh_model::config::{Config, discovery::DiscoveryConfig, scrape::ScrapeConfig};
use mesh_monitors::{
    Data, Invalid, Materials, Monitor, Reason, Reference, Settings, Shown, Verdict, Yaml, generate,
    verdict,
};
use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

/// Objects of a cluster or a folder.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) settings: Settings,
    pub(crate) monitors: Vec<Monitor>,
    /// Labels of each namespace.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) materials: Known,
    /// Objects that cannot be read, by kind and name.
    pub(crate) unreadable: Vec<(String, Invalid)>,
}

/// Secrets and ConfigMaps that were read.
#[derive(Debug, Default)]
pub(crate) struct Known(pub(crate) BTreeMap<Reference, Arc<Data>>);

/// Scrape configurations of all selected monitors.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Results by monitor, in the order of their jobs.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Result of one monitor.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Kind, namespace and name.
    pub(crate) name: String,
    /// Scrape configurations without secrets, as JSON, for people. Empty if the monitor is
    /// invalid.
    pub(crate) shown: Vec<String>,
    /// Scrape configurations, or the mistake. `None` if no selector matches.
    pub(crate) configs: Option<Result<Vec<ScrapeConfig>, Invalid>>,
}

impl Materials for Known {
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String> {
        let found = self.0.get(reference).cloned();
        found.ok_or_else(|| "not found".to_owned())
    }
}

// === impl Objects ===

impl Objects {
    /// Generates and parses the scrape configurations.
    pub(crate) fn collect(&self) -> Collected {
        let unreadable = self.unreadable.iter().map(|(name, invalid)| Outcome {
            name: name.clone(),
            shown: Vec::new(),
            configs: Some(Err(invalid.clone())),
        });
        let mut monitors: Vec<_> = self.monitors.iter().collect();
        monitors.sort_by_key(|monitor| {
            let kinds = self.settings.kinds();
            let rank = kinds.iter().position(|kind| *kind == monitor.kind);
            (rank, format!("{}/{}", monitor.namespace, monitor.name))
        });
        let outcomes = monitors.into_iter().map(|monitor| self.outcome(monitor));
        Collected {
            outcomes: outcomes.chain(unreadable).collect(),
        }
    }

    fn outcome(&self, monitor: &Monitor) -> Outcome {
        let none = BTreeMap::new();
        let labels = self.namespaces.get(&monitor.namespace).unwrap_or(&none);
        let is_used = self.settings.kinds().contains(&monitor.kind)
            && verdict(&self.settings, monitor, labels) == Verdict::Selected;
        let mut outcome = Outcome {
            name: monitor.to_string(),
            shown: Vec::new(),
            configs: None,
        };
        if is_used {
            let jobs = generate(monitor, &self.settings, &self.materials);
            outcome.configs = Some(jobs.and_then(|jobs| {
                let configs = parse(monitor, &self.settings, &jobs)?;
                let shown = jobs
                    .iter()
                    .map(|job| job.to_json(Shown::WithoutSecrets).to_string());
                outcome.shown = shown.collect();
                Ok(configs)
            }));
        }
        outcome
    }
}

/// Parses jobs as a configuration file, and refuses mechanisms that a receiver cannot run.
fn parse(
    monitor: &Monitor,
    settings: &Settings,
    jobs: &[Yaml],
) -> Result<Vec<ScrapeConfig>, Invalid> {
    let mut global = settings.global().to_json(Shown::WithSecrets);
    if let Some(keys) = global.as_object_mut() {
        // The path is one of the Prometheus pod.
        keys.remove("scrape_failure_log_file");
    }
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| job.to_json(Shown::WithSecrets))
        .collect();
    let text = json!({"global": global, "scrape_configs": jobs}).to_string();
    let unsupported = |why: String| Invalid::new(Reason::Unsupported, "spec", why);
    let config = Config::parse(&text, Path::new(&monitor.to_string()), &|_| None)
        .map_err(|error| unsupported(error.to_string()))?;
    for mechanism in config.scrape_configs.iter().flat_map(|job| &job.discovery) {
        match mechanism {
            DiscoveryConfig::Unsupported(key) => {
                return Err(unsupported(format!(
                    "{key} is not supported, use httpSDConfigs with an adapter"
                )));
            }
            DiscoveryConfig::File(_) => {
                return Err(Invalid::new(
                    Reason::File,
                    "spec.fileSDConfigs",
                    "reads files of the receiver, which no monitor may do; use httpSDConfigs",
                ));
            }
            _ => {}
        }
    }
    Ok(config.scrape_configs)
}

// === impl Collected ===

impl Collected {
    /// Returns a hash of all scrape configurations, without secrets. Receivers with the same
    /// objects have the same hash.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for job in self.outcomes.iter().flat_map(|outcome| &outcome.shown) {
            // Keys are sorted.
            hasher.update(job.as_bytes());
            hasher.update(b"\n");
        }
        hasher.digest()
    }

    /// Returns true if no selected monitor is invalid.
    pub(crate) fn is_valid(&self) -> bool {
        let mut outcomes = self.outcomes.iter();
        outcomes.all(|outcome| !matches!(outcome.configs, Some(Err(_))))
    }
}

#[cfg(test)]
mod tests {
    use mesh_monitors::Kind;
    use serde_json::Value;

    use super::*;

    fn monitor(kind: Kind, name: &str, spec: Value) -> Monitor {
        let metadata = json!({"namespace": "team", "name": name});
        Monitor::read(kind, &json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn collected(monitors: Vec<Monitor>) -> Collected {
        let objects = Objects {
            monitors,
            ..Objects::default()
        };
        objects.collect()
    }

    #[test]
    fn one_bad_monitor_does_not_stop_the_others() {
        let good = json!({"selector": {}, "endpoints": [{"port": "web"}]});
        let bad = json!({"selector": {}, "endpoints": [{"port": 1}]});
        let found = collected(vec![
            monitor(Kind::ServiceMonitor, "b", bad),
            monitor(Kind::ServiceMonitor, "a", good),
        ]);
        let [a, b] = &found.outcomes[..] else {
            panic!("{found:?}")
        };
        let jobs = a.configs.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(jobs[0].job_name, "serviceMonitor/team/a/0");
        let invalid = b.configs.as_ref().unwrap().as_ref().unwrap_err();
        assert_eq!(invalid.field, "spec.endpoints[0].port");
        assert!(!found.is_valid());
    }

    #[test]
    fn refuses_mechanisms_by_name_and_files() {
        for (spec, reason, expected) in [
            (
                json!({"consulSDConfigs": [{"server": "c:8500"}]}),
                Reason::Unsupported,
                "consul_sd_configs is not supported",
            ),
            (
                json!({"fileSDConfigs": [{"files": ["/etc/x.json"]}]}),
                Reason::File,
                "reads files of the receiver",
            ),
        ] {
            let found = collected(vec![monitor(Kind::ScrapeConfig, "x", spec)]);
            let invalid = found.outcomes[0].configs.as_ref().unwrap();
            let invalid = invalid.as_ref().unwrap_err();
            assert_eq!(invalid.reason, reason);
            assert!(invalid.message.contains(expected), "{invalid}");
        }
    }

    #[test]
    fn the_hash_depends_on_the_jobs_only() {
        let spec = |port: &str| json!({"selector": {}, "endpoints": [{"port": port}]});
        let make = |name: &str, port: &str| monitor(Kind::ServiceMonitor, name, spec(port));
        let hash = |monitors| collected(monitors).hash();
        let both = hash(vec![make("a", "x"), make("b", "y")]);
        assert_eq!(both, hash(vec![make("b", "y"), make("a", "x")]));
        assert_ne!(both, hash(vec![make("a", "x"), make("b", "z")]));
    }
}
