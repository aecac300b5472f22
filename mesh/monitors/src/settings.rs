//! The part of a Prometheus or PrometheusAgent object that concerns scraping.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::{
    Invalid, Kind, Monitor, Reason,
    context::check_timeout,
    limits::{self, Enforced},
    object::{Field, Object},
    scrape_class::ScrapeClass,
    selector::Selector,
    yaml::Map,
};

/// Kind of the object that the settings are from. It decides the order of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Prometheus.
    #[default]
    Server,
    /// PrometheusAgent.
    Agent,
    /// PrometheusAgent with `mode: DaemonSet`, which uses PodMonitors only.
    DaemonSet,
}

/// Settings of a Prometheus or PrometheusAgent object.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Kind of the object.
    pub mode: Mode,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Refuse monitors that read files of the scraper.
    pub deny_files: bool,
    /// The cluster has EndpointSlices. Default: true.
    pub endpoint_slices: bool,
    pub(crate) scrape_interval: String,
    pub(crate) enforced: Enforced,
    pub(crate) ignore_namespace_selectors: bool,
    pub(crate) override_honor_labels: bool,
    pub(crate) override_honor_timestamps: bool,
    namespace_label: Option<String>,
    excluded: Vec<Exclusion>,
    selectors: Vec<Selection>,
    global: Map,
    spec: Arc<Value>,
}

/// Selectors of one kind of monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) labels: Option<Selector>,
    pub(crate) namespaces: Option<Selector>,
}

/// Objects that enforcement spares. An empty name means all of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exclusion {
    plural: String,
    namespace: String,
    name: String,
}

/// Interval that the schema of Prometheus objects sets.
const SCRAPE_INTERVAL: &str = "30s";
/// Name under which the Operator mounts a volume for log files.
const LOG_FOLDER: &str = "/var/log/prometheus";

/// A Prometheus object that selects everything.
static DEFAULT: LazyLock<Value> = LazyLock::new(|| {
    let mut spec = serde_json::Map::new();
    for kind in Kind::ALL {
        let prefix = kind.selector_prefix();
        spec.insert(format!("{prefix}Selector"), json!({}));
        spec.insert(format!("{prefix}NamespaceSelector"), json!({}));
    }
    json!({
        "kind": "Prometheus",
        "metadata": {"namespace": "default", "name": "promesh"},
        "spec": spec,
    })
});

impl Default for Settings {
    /// Returns settings that select all monitors of all namespaces.
    fn default() -> Self {
        Self::read(&DEFAULT).expect("a valid object")
    }
}

// === impl Settings ===

impl Settings {
    /// Reads an object of the kind Prometheus or PrometheusAgent.
    ///
    /// # Errors
    /// Returns an error if a field that concerns scraping is invalid.
    pub fn read(object: &Value) -> Result<Self, Invalid> {
        let root = Object::of(object, "")?;
        let metadata = root.object_or_empty("metadata")?;
        let kind = root.one_of("kind", &["Prometheus", "PrometheusAgent"])?;
        let value = Arc::new(root.value("spec").cloned().unwrap_or_default());
        let spec = Object::of(&value, "spec")?;
        let daemon_set = spec.text("mode")? == Some("DaemonSet");
        let interval = spec.duration("scrapeInterval")?.unwrap_or(SCRAPE_INTERVAL);
        if let Some(timeout) = spec.duration("scrapeTimeout")? {
            check_timeout(&spec, timeout, interval)?;
        }
        let files = spec.object_or_empty("arbitraryFSAccessThroughSMs")?;
        let enforced = Enforced::read(&spec)?;
        let excluded = spec.objects("excludedFromEnforcement")?;
        let selectors = Kind::ALL.map(|kind| Selection::read(&spec, kind.selector_prefix()));
        check_classes(&spec)?;
        Ok(Self {
            mode: match kind {
                Some("PrometheusAgent") if daemon_set => Mode::DaemonSet,
                Some("PrometheusAgent") => Mode::Agent,
                _ => Mode::Server,
            },
            namespace: metadata
                .full_text("namespace")?
                .unwrap_or("default")
                .to_owned(),
            name: metadata.required_text("name")?.to_owned(),
            deny_files: files.is_set("deny")?,
            endpoint_slices: true,
            scrape_interval: interval.to_owned(),
            global: global(&spec, &enforced, interval)?,
            enforced,
            ignore_namespace_selectors: spec.is_set("ignoreNamespaceSelectors")?,
            override_honor_labels: spec.is_set("overrideHonorLabels")?,
            override_honor_timestamps: spec.is_set("overrideHonorTimestamps")?,
            namespace_label: spec.full_text("enforcedNamespaceLabel")?.map(str::to_owned),
            excluded: excluded
                .iter()
                .map(Exclusion::read)
                .collect::<Result<_, _>>()?,
            selectors: selectors.into_iter().collect::<Result<_, _>>()?,
            spec: Arc::clone(&value),
        })
    }

    /// Returns `global`: the settings that all generated jobs inherit.
    pub fn global(&self) -> &Map {
        &self.global
    }

    /// Returns the kinds that are scraped, in the order of their jobs.
    pub fn kinds(&self) -> &'static [Kind] {
        use Kind::{PodMonitor, Probe, ScrapeConfig, ServiceMonitor};
        match self.mode {
            Mode::Server => &[ServiceMonitor, PodMonitor, Probe, ScrapeConfig],
            Mode::Agent => &[PodMonitor, ServiceMonitor, Probe, ScrapeConfig],
            Mode::DaemonSet => &[PodMonitor],
        }
    }

    pub(crate) fn selection(&self, kind: Kind) -> &Selection {
        &self.selectors[kind as usize]
    }

    /// Returns the label that is set to the monitor's namespace, unless it is excluded.
    pub(crate) fn enforced_label(&self, monitor: &Monitor) -> Option<&str> {
        let spared = self
            .excluded
            .iter()
            .any(|excluded| excluded.covers(monitor));
        self.namespace_label.as_deref().filter(|_| !spared)
    }

    pub(crate) fn pod_target_labels(&self) -> Vec<&str> {
        let labels = self.spec().and_then(|spec| spec.texts("podTargetLabels"));
        labels.ok().flatten().unwrap_or_default()
    }

    pub(crate) fn api_server(&self) -> Field<Object<'_>> {
        self.spec()?.object("apiserverConfig")
    }

    /// Returns the role that discovers the endpoints of a ServiceMonitor.
    pub(crate) fn endpoint_role(&self, monitor: &Object<'_>) -> Result<&'static str, Invalid> {
        let spec = self.spec()?;
        let own = role(monitor)?.or(role(&spec)?);
        Ok(match own {
            Some("EndpointSlice") if self.endpoint_slices => "endpointslice",
            _ => "endpoints",
        })
    }

    /// Returns the scrape class of a monitor: the named one, else the default.
    pub(crate) fn class(&self, monitor: &Object<'_>) -> Result<ScrapeClass<'_>, Invalid> {
        let spec = self.spec()?;
        let mut classes = spec.objects("scrapeClasses")?.into_iter();
        let class = match monitor.full_text("scrapeClass")? {
            Some(name) => {
                let found =
                    classes.find(|class| matches!(class.text("name"), Ok(Some(n)) if n == name));
                Some(found.ok_or_else(|| {
                    let message =
                        format!("{name:?} is not one of the scrapeClasses of the Prometheus");
                    monitor.invalid(Reason::ScrapeClass, "scrapeClass", message)
                })?)
            }
            None => classes.find(|class| matches!(class.flag("default"), Ok(Some(true)))),
        };
        let none = || Object::of(&Value::Null, "scrapeClass");
        Ok(ScrapeClass(class.map_or_else(none, Ok)?))
    }

    fn spec(&self) -> Result<Object<'_>, Invalid> {
        Object::of(&self.spec, "spec")
    }
}

fn role<'a>(object: &Object<'a>) -> Field<&'a str> {
    object.one_of("serviceDiscoveryRole", &["Endpoints", "EndpointSlice"])
}

fn check_classes(spec: &Object<'_>) -> Result<(), Invalid> {
    let mut default = None;
    for class in spec.objects("scrapeClasses")? {
        let class = ScrapeClass(class);
        class.check()?;
        if !class.0.is_set("default")? {
            continue;
        }
        let name = class.0.required_text("name")?;
        if let Some(first) = default.replace(name) {
            let message = format!("{name:?} and {first:?} are both the default, expected one");
            return Err(class.0.invalid(Reason::Conflict, "default", message));
        }
    }
    Ok(())
}

fn global(spec: &Object<'_>, enforced: &Enforced, interval: &str) -> Result<Map, Invalid> {
    let mut global = Map::default();
    global.put("scrape_interval", interval);
    global.put_some("scrape_timeout", spec.duration("scrapeTimeout")?);
    global.put_some("scrape_protocols", spec.protocols("scrapeProtocols")?);
    global.put_some(
        "scrape_native_histograms",
        spec.flag("scrapeNativeHistograms")?,
    );
    global.put_some(
        "always_scrape_classic_histograms",
        spec.flag("scrapeClassicHistograms")?,
    );
    global.put_some(
        "convert_classic_histograms_to_nhcb",
        spec.flag("convertClassicHistogramsToNHCB")?,
    );
    enforced.put_global(spec, &mut global)?;
    limits::put_name_schemes(spec, &mut global)?;
    if let Some(file) = spec.text("scrapeFailureLogFile")? {
        let path = if file.contains('/') {
            file.to_owned()
        } else {
            format!("{LOG_FOLDER}/{file}")
        };
        global.put("scrape_failure_log_file", path);
    }
    Ok(global)
}

// === impl Selection ===

impl Selection {
    fn read(spec: &Object<'_>, prefix: &str) -> Result<Self, Invalid> {
        let read = |suffix: &str| {
            let selector = spec.object(&format!("{prefix}{suffix}"))?;
            selector
                .map(|selector| Selector::read(&selector))
                .transpose()
        };
        Ok(Self {
            labels: read("Selector")?,
            namespaces: read("NamespaceSelector")?,
        })
    }
}

// === impl Exclusion ===

impl Exclusion {
    fn read(object: &Object<'_>) -> Result<Self, Invalid> {
        Ok(Self {
            plural: object.required_text("resource")?.to_owned(),
            namespace: object.required_text("namespace")?.to_owned(),
            name: object.text("name")?.unwrap_or_default().to_owned(),
        })
    }

    fn covers(&self, monitor: &Monitor) -> bool {
        self.plural == monitor.kind.plural()
            && self.namespace == monitor.namespace
            && (self.name.is_empty() || self.name == monitor.name)
    }
}
