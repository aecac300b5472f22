//! What admission counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{args::LimitArgs, refusal::Refusal};

/// What admission counts, and the answers of both protocols.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdmissionMetrics {
    requests: Family<Request, Counter>,
    refused: Family<Refused, Counter>,
    pushes: Gauge,
    pushes_limit: Gauge,
    client_limit: Gauge,
    memory: Gauge,
    memory_limit: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    protocol: &'static str,
    answer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    protocol: &'static str,
    reason: &'static str,
}

// === impl AdmissionMetrics ===

impl AdmissionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let own = metrics.clone();
        registry.register(
            "requests",
            "Pushes by protocol and the status that was answered",
            own.requests,
        );
        registry.register(
            "requests_refused",
            "Pushes that were not taken, by protocol and reason",
            own.refused,
        );
        registry.register("pushes", "Pushes that are under way", own.pushes);
        registry.register("pushes_limit", "Pushes there may be", own.pushes_limit);
        registry.register(
            "client_pushes_limit",
            "Pushes that one client may have under way",
            own.client_limit,
        );
        registry.register(
            "push_memory_bytes",
            "Memory that the pushes under way have taken",
            own.memory,
        );
        registry.register(
            "push_memory_limit_bytes",
            "Memory there is for them",
            own.memory_limit,
        );
        metrics
    }

    /// Counts an answer: a gRPC code's name or an HTTP status.
    pub(crate) fn answered(&self, protocol: &'static str, answer: impl ToString) {
        let answer = answer.to_string();
        let request = Request { protocol, answer };
        self.requests.get_or_create(&request).inc();
    }

    pub(crate) fn refused(&self, protocol: &'static str, refusal: &Refusal) {
        let reason = refusal.reason();
        let refused = Refused { protocol, reason };
        self.refused.get_or_create(&refused).inc();
    }

    pub(super) fn limits(&self, limits: &LimitArgs) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.pushes_limit.set(gauge(limits.max_concurrent_pushes));
        self.client_limit
            .set(gauge(limits.max_concurrent_pushes_per_client));
        self.memory_limit.set(gauge(limits.memory_budget));
    }

    pub(super) fn in_use(&self, free_pushes: usize, memory: usize) {
        self.pushes
            .set(self.pushes_limit.get() - free_pushes as i64);
        self.memory.set(memory as i64);
    }
}
