//! Scrape configurations that the cluster declares: ServiceMonitor, PodMonitor, Probe and
//! ScrapeConfig of the Prometheus Operator.
//!
//! [`mesh_monitors`] generates the configuration of each object, without I/O. This module
//! gives it objects, and parses the result as any job of `prometheus.yml`.
//!
//! ```text
//! files (check) ──────────▶ Objects ─▶ collect: select ─▶ generate ─▶ parse ─▶ Collected
//! watches of the cluster ─────┘                              ▲
//! Secrets, ConfigMaps (get) ─────────────────────────────────┘
//! ```

mod args;
mod collect;
mod directory;
mod follow;
mod materials;
mod objects;
mod status;
mod watched;

pub use self::{
    args::{MonitorArgs, ObjectName},
    directory::DirectoryError,
};
pub(crate) use self::{
    collect::{Collected, Collector},
    directory::read,
    follow::{Following, once},
    status::MonitorStatus,
};
