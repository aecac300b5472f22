//! Metrics of the balancer.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use mesh_contract::export::ExportError;

use crate::Outcome;

/// Metrics of the balancer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct BalanceMetrics {
    exports: Family<OutcomeLabel, Counter>,
    exporters: Gauge,
    connected: Gauge,
    connect_failures: Family<ReasonLabel, Counter>,
}

/// Guard that counts an exporter as connected until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectedExporter(Gauge);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

// === impl BalanceMetrics ===

impl BalanceMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        for outcome in ["verdict", "again", "unsent", "unknown"] {
            let _ = self.exports.get_or_create(&OutcomeLabel { outcome });
        }
        for reason in ["refused", "timeout", "tls", "broken"] {
            let _ = self.connect_failures.get_or_create(&ReasonLabel { reason });
        }
        registry.register(
            "exports",
            "Requests to exporters by outcome: verdict, again (the exporter asks for a retry), \
             unsent (no exporter reachable) or unknown (no response of an exporter)",
            self.exports.clone(),
        );
        registry.register(
            "exporters",
            "Exporters that discovery has found",
            self.exporters.clone(),
        );
        registry.register(
            "exporters_connected",
            "Exporters with an open connection",
            self.connected.clone(),
        );
        registry.register(
            "exporter_connect_failures",
            "Failed attempts to connect to an exporter, by reason: refused, timeout, tls or broken",
            self.connect_failures.clone(),
        );
    }

    pub(crate) fn observe(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Ok(_) => "verdict",
            Err(ExportError::Retry { .. }) => "again",
            Err(ExportError::Unsent(_)) => "unsent",
            Err(ExportError::Unknown { .. }) => "unknown",
        };
        self.exports.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn set_exporters(&self, exporters: usize) {
        self.exporters.set(exporters as i64);
    }

    pub(crate) fn connected(&self) -> ConnectedExporter {
        self.connected.inc();
        ConnectedExporter(self.connected.clone())
    }

    pub(crate) fn connect_failed(&self, reason: &'static str) {
        let reason = ReasonLabel { reason };
        self.connect_failures.get_or_create(&reason).inc();
    }
}

// === impl ConnectedExporter ===

impl Drop for ConnectedExporter {
    fn drop(&mut self) {
        self.0.dec();
    }
}
