//! exporter-svc: turns OTLP into signed Prometheus remote write.
