//! What has been counted since a stream began, and how a delta is added to it.

mod exponential;
mod histogram;
mod number;

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

use crate::points::Point;

pub(crate) use exponential::Exponential;
pub(crate) use histogram::Histogram;

/// What has been counted since a stream began.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Total {
    /// Of a sum.
    Number(Value),
    /// Of a histogram with explicit bounds.
    Histogram(Histogram),
    /// Of an exponential histogram.
    Exponential(Exponential),
}

/// A data point that can be of delta temporality.
pub(crate) trait Delta: Point + Sized {
    /// Why it cannot be added to anything.
    fn problem(&self, monotonic: bool) -> Option<(Reason, &'static str)>;

    /// The total of a stream that begins with it.
    fn begin(&self) -> Total;

    /// Adds it; false where it does not go together with what is there, so that a
    /// new total has to begin.
    fn add_to(&self, total: &mut Total) -> bool;

    /// The same point with the total of all until now, since `start`.
    fn cumulative(self, start: u64, total: &Total) -> Self;
}

// === impl Total ===

impl Total {
    /// Bytes it takes beyond itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Histogram(total) => total.heap_bytes(),
            Self::Exponential(total) => total.heap_bytes(),
        }
    }
}

/// The sum of two that may not be known.
fn both(a: Option<f64>, b: Option<f64>, join: impl Fn(f64, f64) -> f64) -> Option<f64> {
    Some(join(a?, b?))
}
