//! gateway: takes OTLP metrics from any OpenTelemetry SDK into the mesh.

pub mod json;
