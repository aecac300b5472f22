//! Selects monitors and turns them into scrape configurations.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh_model::{
    config::{Config, discovery::DiscoveryConfig, scrape::ScrapeConfig},
    go_regexp::Regexp,
};
use mesh_monitors::{
    Data, Invalid, Materials, Monitor, Reason, Reference, Settings, Shown, Verdict, Yaml, generate,
    verdict,
};
use serde_json::json;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Objects of a cluster or a folder.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) settings: Settings,
    pub(crate) monitors: Vec<Monitor>,
    /// Labels of each namespace.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// kubeconfig of the cluster, if it is not the cluster of this pod.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Objects that cannot be read, by kind and name.
    pub(crate) unreadable: Vec<(String, Invalid)>,
}

/// Secrets and ConfigMaps that were read.
#[derive(Debug, Default)]
pub(crate) struct Known(pub(crate) BTreeMap<Reference, Arc<Data>>);

/// Turns objects into scrape configurations, again and again. Parses only what has changed.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Outcomes of the last round, by the name of the monitor.
    last: HashMap<String, Outcome>,
    /// Regular expressions by source. Most rules of all monitors have the same ones.
    regexes: HashMap<String, Regexp>,
}

/// Scrape configurations of all selected monitors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Collected {
    /// Results by monitor, in the order of their jobs.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Result of one monitor. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Kind, namespace and name.
    pub(crate) name: String,
    /// Scrape configurations without secrets, as JSON, for people. Empty if the monitor is
    /// invalid.
    pub(crate) shown: Arc<[String]>,
    /// Scrape configurations, or the mistake. `None` if no selector matches.
    pub(crate) configs: Option<Result<Arc<[ScrapeConfig]>, Invalid>>,
    /// Hash of the generated text, with secrets.
    text: u64,
}

/// Maximum number of regular expressions that are kept for the next round.
const MAX_REGEXES: usize = 20_000;

impl Materials for Known {
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String> {
        let found = self.0.get(reference).cloned();
        found.ok_or_else(|| "not found".to_owned())
    }
}

impl PartialEq for Outcome {
    /// Compares the generated texts instead of the parsed configurations.
    fn eq(&self, other: &Self) -> bool {
        let mistake = |outcome: &Self| match &outcome.configs {
            Some(Ok(_)) => Some(None),
            Some(Err(mistake)) => Some(Some(mistake.clone())),
            None => None,
        };
        self.name == other.name && self.text == other.text && mistake(self) == mistake(other)
    }
}

// === impl Collector ===

impl Collector {
    /// Generates and parses the scrape configurations.
    pub(crate) fn collect(&mut self, objects: &Objects, materials: &dyn Materials) -> Collected {
        let unreadable = objects.unreadable.iter().map(|(name, invalid)| Outcome {
            configs: Some(Err(invalid.clone())),
            ..Outcome::not_selected(name.clone())
        });
        let mut monitors: Vec<_> = objects.monitors.iter().collect();
        monitors.sort_by_key(|monitor| {
            let kinds = objects.settings.kinds();
            let rank = kinds.iter().position(|kind| *kind == monitor.kind);
            (rank, format!("{}/{}", monitor.namespace, monitor.name))
        });
        let outcomes = monitors.into_iter();
        let outcomes = outcomes.map(|monitor| self.outcome(objects, monitor, materials));
        let outcomes: Vec<_> = outcomes.chain(unreadable).collect();
        let by_name = outcomes.iter();
        self.last = by_name
            .map(|outcome| (outcome.name.clone(), outcome.clone()))
            .collect();
        if self.regexes.len() > MAX_REGEXES {
            self.regexes.clear();
        }
        Collected { outcomes }
    }

    fn outcome(
        &mut self,
        objects: &Objects,
        monitor: &Monitor,
        materials: &dyn Materials,
    ) -> Outcome {
        let none = BTreeMap::new();
        let settings = &objects.settings;
        let labels = objects.namespaces.get(&monitor.namespace).unwrap_or(&none);
        let mut outcome = Outcome::not_selected(monitor.to_string());
        let is_used = settings.kinds().contains(&monitor.kind)
            && verdict(settings, monitor, labels) == Verdict::Selected;
        if !is_used {
            return outcome;
        }
        let jobs = match generate(monitor, settings, materials) {
            Ok(jobs) => jobs,
            Err(invalid) => {
                outcome.configs = Some(Err(invalid));
                return outcome;
            }
        };
        let text = text(settings, &jobs);
        outcome.text = xxh3_64(text.as_bytes());
        if let Some(last) = self.last.get(&outcome.name)
            && last.text == outcome.text
        {
            return last.clone();
        }
        outcome.configs = Some(parse(monitor, &text).map(|mut configs| {
            for config in &mut configs {
                self.share_regexes(config);
                discover_by(objects.kubeconfig.as_deref(), config);
            }
            let shown = jobs.iter().map(|job| job.to_json(Shown::WithoutSecrets));
            outcome.shown = shown.map(|job| job.to_string()).collect();
            configs.into()
        }));
        outcome
    }

    /// Replaces regular expressions by equal ones of other monitors, to save memory.
    fn share_regexes(&mut self, config: &mut ScrapeConfig) {
        let metric_rules = config.metric_relabel_configs.iter_mut();
        for rule in config.relabel_configs.iter_mut().chain(metric_rules) {
            if rule.regex.is_default() {
                continue;
            }
            let source = rule.regex.as_str().to_owned();
            let shared = self.regexes.entry(source);
            rule.regex = shared.or_insert_with(|| rule.regex.clone()).clone();
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn not_selected(name: String) -> Self {
        Self {
            name,
            shown: Arc::default(),
            configs: None,
            text: 0,
        }
    }
}

/// Lets a job discover its targets in the cluster of the monitors.
fn discover_by(kubeconfig: Option<&Path>, config: &mut ScrapeConfig) {
    for mechanism in &mut config.discovery {
        if let DiscoveryConfig::Kubernetes(kubernetes) = mechanism
            && kubernetes.api_server.is_none()
        {
            kubernetes.kubeconfig_file = kubeconfig.map(Path::to_owned);
        }
    }
}

/// Writes jobs as a configuration file, with secrets.
fn text(settings: &Settings, jobs: &[Yaml]) -> String {
    let mut global = settings.global().to_json(Shown::WithSecrets);
    if let Some(keys) = global.as_object_mut() {
        // The path is one of the Prometheus pod.
        keys.remove("scrape_failure_log_file");
    }
    let jobs = jobs.iter().map(|job| job.to_json(Shown::WithSecrets));
    json!({"global": global, "scrape_configs": jobs.collect::<Vec<_>>()}).to_string()
}

/// Parses a configuration file, and refuses mechanisms that a receiver cannot run.
fn parse(monitor: &Monitor, text: &str) -> Result<Vec<ScrapeConfig>, Invalid> {
    let unsupported = |why: String| Invalid::new(Reason::Unsupported, "spec", why);
    let config = Config::parse(text, Path::new(&monitor.to_string()), &|_| None)
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
    /// objects have the same hash. It has 48 bits, so that a metric shows all of them.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for job in self
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.shown.iter())
        {
            // Keys are sorted.
            hasher.update(job.as_bytes());
            hasher.update(b"\n");
        }
        hasher.digest() >> 16
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
        Collector::default().collect(&objects, &Known::default())
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
