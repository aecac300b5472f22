//! What the balancer counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use mesh_contract::{export::ExportError, verdict::Verdict};

/// What the balancer counts.
#[derive(Clone, Debug, Default)]
pub struct BalanceMetrics {
    exports: Family<Outcome, Counter>,
    known: Gauge,
    not_connected: Family<Reason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

// === impl BalanceMetrics ===

impl BalanceMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "exports",
            "Requests to exporters by what came back: verdict, again, unsent or unknown",
            self.exports.clone(),
        );
        registry.register(
            "exporters",
            "Exporters that discovery knows",
            self.known.clone(),
        );
        registry.register(
            "exporter_connect_failures",
            "Attempts to connect to an exporter that failed, by reason: refused, timeout, tls or \
             broken",
            self.not_connected.clone(),
        );
    }

    pub(super) fn observe(&self, outcome: &Result<Verdict, ExportError>) {
        self.count(match outcome {
            Ok(_) => "verdict",
            Err(ExportError::Again { .. }) => "again",
            Err(ExportError::Unsent(_)) => "unsent",
            Err(ExportError::Unknown { .. }) => "unknown",
        });
    }

    pub(super) fn unsent(&self) {
        self.count("unsent");
    }

    pub(super) fn known(&self, exporters: usize) {
        self.known.set(exporters as i64);
    }

    pub(super) fn not_connected(&self, reason: &'static str) {
        self.not_connected.get_or_create(&Reason { reason }).inc();
    }

    fn count(&self, outcome: &'static str) {
        self.exports.get_or_create(&Outcome { outcome }).inc();
    }
}
