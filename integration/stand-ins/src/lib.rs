//! Stand-ins for the systems around a mesh: the AMP backend, a Kubernetes API server, a
//! scraped application, and an application that pushes with an OpenTelemetry SDK.
//!
//! [`amp`] records every sample that arrives in a ledger. [`validator`] compares the stored
//! series with the bodies that [`sample_app`] served.

pub mod amp;
pub mod files;
pub mod kube_api;
pub mod otel;
pub mod ports;
pub mod sample_app;
pub mod validator;
