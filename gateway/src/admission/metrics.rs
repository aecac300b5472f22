//! Metrics of admission, and of the responses of both protocols.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{limits::LimitArgs, push_error::PushError};

/// Metrics of admission, and of the responses of both protocols.
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

/// Status codes of responses over HTTP.
const HTTP_ANSWERS: [&str; 8] = ["200", "400", "401", "408", "413", "415", "429", "503"];
/// Codes of responses over gRPC; 415 answers a request that is not gRPC.
const GRPC_ANSWERS: [&str; 8] = [
    "Ok",
    "InvalidArgument",
    "Unauthenticated",
    "ResourceExhausted",
    "Unavailable",
    "Unimplemented",
    "DeadlineExceeded",
    "415",
];

// === impl AdmissionMetrics ===

impl AdmissionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for protocol in ["grpc", "http"] {
            for reason in PushError::REASONS {
                let refused = Refused { protocol, reason };
                let _ = metrics.refused.get_or_create(&refused);
            }
        }
        let http = HTTP_ANSWERS.map(|answer| ("http", answer));
        let grpc = GRPC_ANSWERS.map(|answer| ("grpc", answer));
        for (protocol, answer) in http.into_iter().chain(grpc) {
            let answer = answer.to_owned();
            let _ = metrics
                .requests
                .get_or_create(&Request { protocol, answer });
        }
        let own = metrics.clone();
        registry.register(
            "requests",
            "Pushes by protocol and response status",
            own.requests,
        );
        registry.register(
            "requests_refused",
            "Pushes that ended with an error, by protocol and reason",
            own.refused,
        );
        registry.register("pushes", "Pushes in flight", own.pushes);
        registry.register(
            "pushes_limit",
            "Maximum number of pushes in flight",
            own.pushes_limit,
        );
        registry.register(
            "client_pushes_limit",
            "Maximum number of pushes in flight per client",
            own.client_limit,
        );
        registry.register(
            "push_memory_bytes",
            "Memory in use by pushes in flight",
            own.memory,
        );
        registry.register(
            "push_memory_limit_bytes",
            "Memory budget of pushes in flight",
            own.memory_limit,
        );
        metrics
    }

    /// Counts a response by gRPC code name or HTTP status.
    pub(crate) fn record_response(&self, protocol: &'static str, answer: impl ToString) {
        let answer = answer.to_string();
        let request = Request { protocol, answer };
        self.requests.get_or_create(&request).inc();
    }

    pub(crate) fn record_error(&self, protocol: &'static str, error: &PushError) {
        let reason = error.reason();
        let refused = Refused { protocol, reason };
        self.refused.get_or_create(&refused).inc();
    }

    pub(super) fn limits(&self, limits: &LimitArgs) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.pushes_limit.set(gauge(limits.max_concurrent_pushes));
        self.client_limit
            .set(gauge(limits.max_concurrent_pushes_per_client));
        self.memory_limit
            .set(gauge(limits.memory_budget.in_memory()));
    }

    pub(super) fn in_use(&self, free_pushes: usize, memory: usize) {
        self.pushes
            .set(self.pushes_limit.get() - free_pushes as i64);
        self.memory.set(memory as i64);
    }
}
