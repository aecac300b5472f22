//! Parts of the process of each service.
//!
//! - [`admin`]: the HTTP port for probes, metrics and reloads.
//! - [`descriptors`]: the limit of open files.
//! - [`html`]: text in pages.
//! - [`reload`]: reloads of the configuration, by SIGHUP or HTTP.
//! - [`telemetry`]: the log subscriber.
//! - [`web`]: limits of the admin port.
//!
//! ```
//! use mesh_service::admin::{Admin, Readiness};
//! use prometheus_client::registry::Registry;
//!
//! let readiness = Readiness::default();
//! let admin = Admin::new("example-svc", Registry::default(), readiness.clone());
//! // `GET /-/ready` responds with 503 until now.
//! readiness.set(true);
//! # let _ = admin;
//! ```

pub mod admin;
mod cross_site;
pub mod descriptors;
pub mod html;
mod process;
pub mod reload;
pub mod telemetry;
pub mod web;

/// Version that `--version` and the admin pages show. Release builds name their commit.
pub const VERSION: &str = env!("PROMESH_VERSION");
