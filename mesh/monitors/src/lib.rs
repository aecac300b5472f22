//! Scrape configurations of the Prometheus Operator's custom resources.
//!
//! A ServiceMonitor, PodMonitor, Probe or ScrapeConfig becomes the entries of
//! `scrape_configs` that the Operator generates for it, for Prometheus 3.13.2. The rules that
//! let several Prometheus servers share targets are left out: receivers share targets by
//! themselves.
//!
//! ```text
//! object ─▶ Monitor ─┐                 ┌─▶ Yaml (entries of scrape_configs)
//! Prometheus ─▶ Settings ─▶ generate ─┤
//! Secrets, ConfigMaps ─▶ Materials ────┘─▶ Invalid (field, reason, expectation)
//! ```
//!
//! - [`Monitor`] is one object. [`Settings`] is the part of a Prometheus or PrometheusAgent
//!   object that concerns scraping: selectors, limits, scrape classes.
//! - [`generate`] reads every field through `object`, which reports a wrong value with its
//!   path in the object.
//! - [`Materials`] looks up Secrets and ConfigMaps. The crate does no I/O.
//!
//! ```
//! use mesh_monitors::{Kind, Monitor, NoMaterials, Settings, Shown, generate};
//! use serde_json::json;
//!
//! let object = json!({
//!     "metadata": {"namespace": "team-a", "name": "web"},
//!     "spec": {"selector": {}, "endpoints": [{"port": "http"}]},
//! });
//! let monitor = Monitor::read(Kind::ServiceMonitor, &object)?;
//! let jobs = generate(&monitor, &Settings::default(), &NoMaterials)?;
//! let job = jobs[0].to_json(Shown::WithoutSecrets);
//! assert_eq!(job["job_name"], "serviceMonitor/team-a/web/0");
//! # Ok::<(), mesh_monitors::Invalid>(())
//! ```

mod client;
mod context;
mod discovery;
mod endpoint;
mod invalid;
mod kubernetes_sd;
mod limits;
mod material;
mod monitor;
mod object;
mod probe;
mod relabeling;
mod scrape_class;
mod scrape_config;
mod select;
mod selector;
mod settings;
mod tls;
mod yaml;

pub use self::{
    context::generate,
    invalid::{Invalid, Reason},
    material::{Data, Materials, NoMaterials, Reference, Source},
    monitor::{Kind, Monitor},
    select::{Verdict, verdict},
    settings::{Mode, Settings},
    yaml::{Map, Shown, Yaml},
};

#[cfg(test)]
mod tests;
