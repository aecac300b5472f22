//! Starts the services of a mesh, as processes or inside this process, beside real peers
//! (Prometheus, Cortex, VictoriaMetrics, OpenTelemetry SDKs), and reads their accounts and metrics.

pub mod account;
pub mod arrivals;
pub mod cortex_server;
pub mod in_process;
pub mod launcher;
pub mod metrics;
pub mod package;
pub mod process;
pub mod prometheus;
pub mod sdks;
pub mod sender_peers;
pub mod spec;
pub mod topology;
pub mod victoria_metrics;
