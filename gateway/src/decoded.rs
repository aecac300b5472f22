//! A decoded push, and what its decoder rejected.

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

/// A decoded push.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The request, without the rejected points.
    pub request: ExportMetricsServiceRequest,
    /// Points that the request cannot hold.
    pub rejected: Vec<RejectedPoints>,
    /// Set if strings of the push are not UTF-8. Their invalid bytes are U+FFFD now.
    pub is_repaired: bool,
}

/// Points of one metric that a decoder rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedPoints {
    /// Name of the metric.
    pub metric: String,
    /// Number of points.
    pub points: u64,
    /// Reason in metrics and metadata.
    pub reason: Reason,
    /// Description of the problem, for the client.
    pub problem: &'static str,
}

// === impl Decoded ===

impl From<ExportMetricsServiceRequest> for Decoded {
    fn from(request: ExportMetricsServiceRequest) -> Self {
        Self {
            request,
            ..Self::default()
        }
    }
}
