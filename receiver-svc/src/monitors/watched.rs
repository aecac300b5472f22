//! Watches of the cluster and snapshots of their objects.

use std::{collections::BTreeMap, path::Path};

use mesh_monitors::{Kind, Monitor, Settings};
use serde_json::{Value, json};

use super::{
    args::{MonitorArgs, ObjectName},
    collect::Objects,
    objects::{
        Custom, PodMonitor, Probe, Prometheus, PrometheusAgent, ScrapeConfig, ServiceMonitor,
    },
};
use crate::discovery::kubernetes::{
    ClusterWatches, Scope, Subscriber, Watches,
    objects::{Namespace, Object},
};

/// Watches of monitors and of the objects that select them.
#[derive(Debug)]
pub(super) struct Watched {
    service_monitors: Subscriber<ServiceMonitor>,
    pod_monitors: Subscriber<PodMonitor>,
    probes: Subscriber<Probe>,
    scrape_configs: Subscriber<ScrapeConfig>,
    namespaces: Subscriber<Namespace>,
    prometheus: Option<Subscriber<Prometheus>>,
    agent: Option<Subscriber<PrometheusAgent>>,
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(watches: &ClusterWatches<'_>, args: &MonitorArgs) -> Self {
        let named = |is_agent: bool| {
            let name = args.prometheus.as_ref();
            name.filter(|name| name.is_agent == is_agent).map(scope)
        };
        Self {
            service_monitors: watches.subscribe(Scope::default()),
            pod_monitors: watches.subscribe(Scope::default()),
            probes: watches.subscribe(Scope::default()),
            scrape_configs: watches.subscribe(Scope::default()),
            namespaces: watches.subscribe(Scope::default()),
            prometheus: named(false).map(|scope| watches.subscribe(scope)),
            agent: named(true).map(|scope| watches.subscribe(scope)),
        }
    }

    /// Returns true once each watch has listed its objects or failed.
    pub(super) fn is_known(&self) -> bool {
        is_known(&self.service_monitors)
            && is_known(&self.pod_monitors)
            && is_known(&self.probes)
            && is_known(&self.scrape_configs)
            && is_known(&self.namespaces)
            && self.prometheus.as_ref().is_none_or(is_known)
            && self.agent.as_ref().is_none_or(is_known)
    }

    /// Returns the current failures of the watches.
    pub(super) fn failures(&self) -> Vec<String> {
        let failures = [
            self.service_monitors.failure(),
            self.pod_monitors.failure(),
            self.probes.failure(),
            self.scrape_configs.failure(),
            self.namespaces.failure(),
            self.prometheus.as_ref().and_then(Subscriber::failure),
            self.agent.as_ref().and_then(Subscriber::failure),
        ];
        failures.into_iter().flatten().collect()
    }

    /// Returns the current objects. A watch that has never succeeded has none.
    ///
    /// # Errors
    /// Returns an error if the settings are missing or invalid.
    pub(super) fn objects(&self, args: &MonitorArgs) -> Result<Objects, String> {
        let mut settings = self.settings(args)?;
        settings.deny_files = true;
        let mut monitors = Vec::new();
        add(&self.service_monitors, Kind::ServiceMonitor, &mut monitors);
        add(&self.pod_monitors, Kind::PodMonitor, &mut monitors);
        add(&self.probes, Kind::Probe, &mut monitors);
        add(&self.scrape_configs, Kind::ScrapeConfig, &mut monitors);
        let namespaces = all(&self.namespaces).into_iter();
        let namespaces = namespaces.map(|namespace| {
            let labels = namespace.metadata.labels.clone();
            (namespace.key().name, labels.unwrap_or_default())
        });
        Ok(Objects {
            settings,
            monitors,
            namespaces: namespaces.collect(),
            kubeconfig: args.kubeconfig.clone(),
            unreadable: Vec::new(),
        })
    }

    fn settings(&self, args: &MonitorArgs) -> Result<Settings, String> {
        if let Some(path) = &args.settings {
            return read_settings(path);
        }
        let Some(name) = &args.prometheus else {
            return Ok(Settings::default());
        };
        let found = match (&self.prometheus, &self.agent) {
            (Some(objects), _) => first(objects, "Prometheus"),
            (None, Some(objects)) => first(objects, "PrometheusAgent"),
            (None, None) => None,
        };
        let ObjectName {
            namespace, name, ..
        } = name;
        let title = format!("--monitors.prometheus={namespace}/{name}");
        let object = found.ok_or_else(|| format!("{title}: not found"))?;
        Settings::read(&object).map_err(|invalid| format!("{title}: {invalid}"))
    }
}

fn scope(name: &ObjectName) -> Scope {
    Scope {
        namespace: Some(name.namespace.clone()),
        fields: format!("metadata.name={}", name.name),
        ..Scope::default()
    }
}

fn is_known<K: Object>(objects: &Subscriber<K>) -> bool {
    objects.is_synced() || objects.failure().is_some()
}

fn all<K: Object>(objects: &Subscriber<K>) -> Vec<std::sync::Arc<K>> {
    let keys = objects.keys_of(|_| true).into_iter();
    keys.filter_map(|key| objects.get(&key)).collect()
}

fn add<K: Custom>(objects: &Subscriber<K>, kind: Kind, monitors: &mut Vec<Monitor>) {
    monitors.extend(all(objects).into_iter().map(|object| {
        let key = object.key();
        let labels: BTreeMap<_, _> = object.meta().labels.clone().unwrap_or_default();
        Monitor::new(kind, key.namespace, key.name, labels, object.spec().clone())
    }));
}

fn first<K: Custom>(objects: &Subscriber<K>, kind: &str) -> Option<Value> {
    let object = all(objects).into_iter().next()?;
    let key = object.key();
    Some(json!({
        "kind": kind,
        "metadata": {"namespace": key.namespace, "name": key.name},
        "spec": **object.spec(),
    }))
}

fn read_settings(path: &Path) -> Result<Settings, String> {
    let failed = |why: String| format!("--monitors.settings={}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let object: Value = serde_saphyr::from_str(&text)
        .map_err(|error| failed(error.without_snippet().to_string()))?;
    Settings::read(&object).map_err(|invalid| failed(invalid.to_string()))
}
