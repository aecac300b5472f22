//! Parts that the generators of all kinds share.

use mesh_model::{config::duration, validation::ValidationScheme};

use crate::{
    Invalid, Kind, Materials, Monitor, Reason, Settings, endpoint, limits,
    material::Vault,
    object::{Field, Object},
    probe,
    relabeling::{Rule, Rules, rules},
    scrape_class::ScrapeClass,
    scrape_config,
    yaml::{Map, Yaml},
};

/// The inputs of a generator.
pub(crate) struct Context<'a> {
    pub(crate) monitor: &'a Monitor,
    pub(crate) settings: &'a Settings,
    pub(crate) vault: Vault<'a>,
    pub(crate) class: ScrapeClass<'a>,
    pub(crate) spec: Object<'a>,
}

/// Generates the entries of `scrape_configs` for a monitor.
///
/// # Errors
/// Returns an error if the monitor is invalid: the first mistake.
pub fn generate(
    monitor: &Monitor,
    settings: &Settings,
    materials: &dyn Materials,
) -> Result<Vec<Yaml>, Invalid> {
    let spec = Object::of(&monitor.spec, "spec")?;
    let context = Context {
        monitor,
        settings,
        vault: Vault {
            materials,
            namespace: &monitor.namespace,
        },
        class: settings.class(&spec)?,
        spec,
    };
    match monitor.kind {
        Kind::ServiceMonitor => endpoint::service_monitor(&context),
        Kind::PodMonitor => endpoint::pod_monitor(&context),
        Kind::Probe => probe::generate(&context).map(|job| vec![job]),
        Kind::ScrapeConfig => scrape_config::generate(&context).map(|job| vec![job]),
    }
}

// === impl Context ===

impl Context<'_> {
    /// Adds the interval and the timeout, which must not be longer.
    pub(crate) fn put_interval(
        &self,
        object: &Object<'_>,
        field: &str,
        job: &mut Map,
    ) -> Result<(), Invalid> {
        let (interval, timeout) = (object.duration(field)?, object.duration("scrapeTimeout")?);
        let inherited = self.settings.scrape_interval.as_str();
        if let Some(timeout) = timeout {
            check_timeout(object, timeout, interval.unwrap_or(inherited))?;
        }
        job.put_some("scrape_interval", interval);
        job.put_some("scrape_timeout", timeout);
        Ok(())
    }

    /// Adds `honor_labels`.
    pub(crate) fn put_honor_labels(&self, honor: bool, job: &mut Map) {
        job.put(
            "honor_labels",
            honor && !self.settings.override_honor_labels,
        );
    }

    /// Adds `honor_timestamps`. `given` is the value of the monitor.
    pub(crate) fn put_honor_timestamps(&self, given: Option<bool>, job: &mut Map) {
        let overridden = self.settings.override_honor_timestamps;
        if given.is_some() || overridden {
            job.put("honor_timestamps", given.unwrap_or(false) && !overridden);
        }
    }

    /// Adds limits, histograms and protocols.
    pub(crate) fn put_limits(&self, job: &mut Map) -> Result<(), Invalid> {
        self.settings.enforced.put(&self.spec, job)?;
        limits::put_histograms(&self.spec, job)?;
        limits::put_protocols(&self.spec, &self.class, job)
    }

    /// Adds the user's rules in the list `key` of `object`, and the enforced label.
    pub(crate) fn add_relabelings(
        &self,
        object: &Object<'_>,
        key: &str,
        to: &mut Rules,
    ) -> Result<(), Invalid> {
        to.extend(rules(object, key)?);
        to.extend(self.enforced_label());
        Ok(())
    }

    /// Adds `metric_relabel_configs`.
    pub(crate) fn put_metric_relabelings(
        &self,
        object: &Object<'_>,
        job: &mut Map,
    ) -> Result<(), Invalid> {
        let mut all = self.class.metric_relabelings()?;
        all.extend(rules(object, "metricRelabelings")?);
        all.extend(self.enforced_label());
        job.put_some(
            "metric_relabel_configs",
            Some(all).filter(|rules| !rules.is_empty()),
        );
        Ok(())
    }

    /// Returns the rule that sets the enforced namespace label, if there is one.
    pub(crate) fn enforced_label(&self) -> Option<Yaml> {
        let label = self.settings.enforced_label(self.monitor)?;
        let rule = Rule::default().to(label);
        Some(rule.replacement(&self.monitor.namespace).into())
    }
}

/// Checks that a timeout is not longer than the interval.
pub(crate) fn check_timeout(
    object: &Object<'_>,
    timeout: &str,
    interval: &str,
) -> Result<(), Invalid> {
    match (duration::parse(timeout), duration::parse(interval)) {
        (Ok(timeout_value), Ok(interval_value)) if timeout_value > interval_value => {
            let message = format!("{timeout} is longer than the scrape interval {interval}");
            Err(object.invalid(Reason::Conflict, "scrapeTimeout", message))
        }
        _ => Ok(()),
    }
}

/// Reads static labels, whose names must be valid.
pub(crate) fn static_labels<'a>(
    object: &Object<'a>,
) -> Field<std::collections::BTreeMap<&'a str, &'a str>> {
    let labels = object.text_map("labels")?;
    let mut names = labels.iter().flatten().map(|(name, _)| *name);
    match names.find(|name| !ValidationScheme::Utf8.is_valid_label_name(name)) {
        Some(name) => Err(object.invalid(
            Reason::Schema,
            "labels",
            format!("{name:?} is not a label name"),
        )),
        None => Ok(labels),
    }
}
