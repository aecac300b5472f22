//! Starts the parts of a mesh, as processes or in this process, beside real peers
//! (Prometheus, Cortex, OpenTelemetry SDKs), and reads what they did.

pub mod arrivals;
pub mod books;
pub mod child;
pub mod cortex_server;
pub mod in_process;
pub mod mesh;
pub mod prometheus;
pub mod sdks;
pub mod sender_bench;
