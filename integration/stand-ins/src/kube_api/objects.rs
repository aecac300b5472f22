//! The objects of a cluster and the history of their changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// All objects, and all changes since the last compaction.
#[derive(Debug)]
pub(super) struct Objects {
    all: BTreeMap<Id, Value>,
    history: Vec<Change>,
    /// Resource version of the latest change.
    version: u64,
    /// Changes up to this resource version are not in the history any more.
    compacted: u64,
}

/// Resource, namespace, name.
type Id = (String, String, String);

/// A change of an object, with its states before and after.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// Supported kinds and their resources.
const RESOURCES: [(&str, &str); 17] = [
    ("Node", "nodes"),
    ("Namespace", "namespaces"),
    ("Pod", "pods"),
    ("Service", "services"),
    ("Endpoints", "endpoints"),
    ("EndpointSlice", "endpointslices"),
    ("Ingress", "ingresses"),
    ("ReplicaSet", "replicasets"),
    ("Job", "jobs"),
    ("Deployment", "deployments"),
    ("Secret", "secrets"),
    ("ConfigMap", "configmaps"),
    ("ServiceMonitor", "servicemonitors"),
    ("PodMonitor", "podmonitors"),
    ("Probe", "probes"),
    ("ScrapeConfig", "scrapeconfigs"),
    ("Prometheus", "prometheuses"),
];

// === impl Objects ===

impl Default for Objects {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            history: Vec::new(),
            version: 1,
            compacted: 0,
        }
    }
}

impl Objects {
    /// Creates or replaces an object. Returns the resource version after the change.
    pub(super) fn apply(&mut self, mut object: Value) -> u64 {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = object["kind"].as_str().unwrap_or_default();
        let known = RESOURCES.iter().find(|(known, _)| *known == kind);
        let (_, resource) = known
            .unwrap_or_else(|| panic!("the stand-in does not support objects of kind {kind:?}"));
        let meta = |key: &str| text(&object["metadata"][key]);
        let id = (resource.to_string(), meta("namespace"), meta("name"));
        let before = self.all.insert(id, object.clone());
        self.changed(resource, before, Some(object))
    }

    /// Deletes an object. Returns the resource version after the change.
    pub(super) fn delete(&mut self, resource: &str, namespace: &str, name: &str) -> u64 {
        let id = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        match self.all.remove(&id) {
            Some(mut before) => {
                self.version += 1;
                before["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.changed(resource, Some(before), None)
            }
            None => self.version,
        }
    }

    fn changed(&mut self, resource: &str, before: Option<Value>, after: Option<Value>) -> u64 {
        self.history.push(Change {
            version: self.version,
            resource: resource.to_owned(),
            before,
            after,
        });
        self.version
    }

    /// Drops the history.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        // Even the version of the latest change counts as compacted.
        self.version += 1;
        self.compacted = self.version;
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the objects of a resource.
    pub(super) fn of<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a Value> {
        let all = self.all.iter();
        all.filter(move |((of, ..), _)| of == resource)
            .map(|(_, object)| object)
    }

    /// Returns one object.
    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        let id = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.all.get(&id)
    }

    /// Returns the changes after a version, or `None` if that version was compacted.
    pub(super) fn since(&self, version: u64) -> Option<Vec<Change>> {
        if version < self.compacted {
            return None;
        }
        let changes = self.history.iter();
        let after = changes.filter(|change| change.version > version);
        Some(after.cloned().collect())
    }
}

/// Returns the kind of a resource's objects, or `None` for an unsupported resource.
pub(super) fn kind(resource: &str) -> Option<&'static str> {
    let mut known = RESOURCES.iter();
    let found = known.find(|(_, of)| *of == resource);
    found.map(|(kind, _)| *kind)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
