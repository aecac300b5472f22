//! Total of a stream since its start.

mod exponential;
mod histogram;

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

pub(crate) use exponential::Exponential;
pub(crate) use histogram::Histogram;

/// Total of a stream since its start, by type of metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Total {
    /// Total of a sum.
    Number(Value),
    /// Total of a histogram with explicit bounds.
    Histogram(Histogram),
    /// Total of an exponential histogram.
    Exponential(Exponential),
}

// === impl Total ===

impl Total {
    /// Bytes that the total has allocated on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Histogram(total) => total.heap_bytes(),
            Self::Exponential(total) => total.heap_bytes(),
        }
    }
}
