//! Scrape configurations that the cluster declares: ServiceMonitor, PodMonitor, Probe and
//! ScrapeConfig of the Prometheus Operator.
//!
//! [`mesh_monitors`] generates the configuration of each object, without I/O. This module
//! gives it objects, and parses the result as any job of `prometheus.yml`.
//!
//! ```text
//! files (check) ─▶ Objects ─▶ collect: select ─▶ generate ─▶ parse ─▶ Collected
//! ```

mod collect;
mod directory;

pub(crate) use self::{
    collect::Collected,
    directory::{DirectoryError, read},
};
