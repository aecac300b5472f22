//! One custom resource.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use crate::{Invalid, object::Object};

/// Kind of custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// ServiceMonitor.
    ServiceMonitor,
    /// PodMonitor.
    PodMonitor,
    /// Probe.
    Probe,
    /// ScrapeConfig.
    ScrapeConfig,
}

/// A custom resource that declares targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// Kind of the resource.
    pub kind: Kind,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Labels of the object, for selectors.
    pub labels: BTreeMap<String, String>,
    pub(crate) spec: Arc<Value>,
}

// === impl Kind ===

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::ServiceMonitor,
        Self::PodMonitor,
        Self::Probe,
        Self::ScrapeConfig,
    ];

    /// Returns the name of the kind, such as `ServiceMonitor`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceMonitor => "ServiceMonitor",
            Self::PodMonitor => "PodMonitor",
            Self::Probe => "Probe",
            Self::ScrapeConfig => "ScrapeConfig",
        }
    }

    /// Returns the name of the resource in URLs, such as `servicemonitors`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ServiceMonitor => "servicemonitors",
            Self::PodMonitor => "podmonitors",
            Self::Probe => "probes",
            Self::ScrapeConfig => "scrapeconfigs",
        }
    }

    /// Returns the version of the API group `monitoring.coreos.com`.
    pub fn version(self) -> &'static str {
        match self {
            Self::ScrapeConfig => "v1alpha1",
            _ => "v1",
        }
    }

    /// Returns the beginning of the fields of a Prometheus object that select this kind.
    pub(crate) fn selector_prefix(self) -> &'static str {
        match self {
            Self::ServiceMonitor => "serviceMonitor",
            Self::PodMonitor => "podMonitor",
            Self::Probe => "probe",
            Self::ScrapeConfig => "scrapeConfig",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Monitor ===

impl Monitor {
    /// Wraps an object that was read already.
    pub fn new(
        kind: Kind,
        namespace: impl Into<String>,
        name: impl Into<String>,
        labels: BTreeMap<String, String>,
        spec: Arc<Value>,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            labels,
            spec,
        }
    }

    /// Reads an object. Its `spec` is read when a configuration is generated.
    ///
    /// # Errors
    /// Returns an error if the metadata has no name, or if labels are not texts.
    pub fn read(kind: Kind, object: &Value) -> Result<Self, Invalid> {
        let root = Object::of(object, "")?;
        let metadata = root.required_object("metadata")?;
        let namespace = metadata.full_text("namespace")?.unwrap_or("default");
        let labels = metadata.text_map("labels")?.unwrap_or_default();
        let labels = labels.into_iter();
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: metadata.required_text("name")?.to_owned(),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            spec: Arc::new(root.value("spec").cloned().unwrap_or_default()),
        })
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
