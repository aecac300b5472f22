//! Data points of delta temporality, and how each type is added to a total.

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, number_data_point::Value,
};

use super::total::{Exponential, Histogram, Total};
use crate::points::Point;

/// A data point that can have delta temporality.
pub(crate) trait DeltaPoint: Point + Sized {
    /// Checks the delta. Returns the reason to reject it, or `None` if it is valid.
    ///
    /// A total never recovers from NaN, infinity or a negative count, so such deltas
    /// are rejected before they are added.
    fn problem(&self, monotonic: bool) -> Option<(Reason, &'static str)>;

    /// Starts a total that consists of this delta.
    fn to_total(&self) -> Total;

    /// Adds the delta to a total.
    ///
    /// Returns false if the two do not match, for instance in their bucket bounds, or
    /// if a count would overflow. The total is then unchanged, and the caller starts a
    /// new one.
    fn add_to(&self, total: &mut Total) -> bool;

    /// Turns the delta into a cumulative point with the value of `total` since `start`.
    fn into_cumulative(self, start: u64, total: &Total) -> Self;
}

const SUM_NOT_FINITE: (Reason, &str) = (Reason::Malformed, "delta whose sum is not finite");

// === impl NumberDataPoint ===

impl DeltaPoint for NumberDataPoint {
    fn problem(&self, monotonic: bool) -> Option<(Reason, &'static str)> {
        let value = match self.value? {
            Value::AsInt(value) => value as f64,
            Value::AsDouble(value) => value,
        };
        if !value.is_finite() {
            return Some((Reason::Malformed, "delta that is not finite"));
        }
        let falls = monotonic && value < 0.0;
        falls.then_some((Reason::Malformed, "negative delta of a monotonic sum"))
    }

    fn to_total(&self) -> Total {
        Total::Number(self.value.unwrap_or(Value::AsInt(0)))
    }

    fn add_to(&self, total: &mut Total) -> bool {
        let Total::Number(total) = total else {
            return false;
        };
        let sum = match (*total, self.value.unwrap_or(Value::AsInt(0))) {
            (Value::AsInt(a), Value::AsInt(b)) => a.checked_add(b).map(Value::AsInt),
            (Value::AsDouble(a), Value::AsDouble(b)) => Some(Value::AsDouble(a + b)),
            (Value::AsInt(a), Value::AsDouble(b)) => Some(Value::AsDouble(a as f64 + b)),
            (Value::AsDouble(a), Value::AsInt(b)) => Some(Value::AsDouble(a + b as f64)),
        };
        let Some(sum) = sum else { return false };
        *total = sum;
        true
    }

    fn into_cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Number(total) = total {
            self.value = Some(*total);
        }
        self
    }
}

// === impl HistogramDataPoint ===

impl DeltaPoint for HistogramDataPoint {
    fn problem(&self, _: bool) -> Option<(Reason, &'static str)> {
        let infinite = self.sum.is_some_and(|sum| !sum.is_finite());
        infinite.then_some(SUM_NOT_FINITE)
    }

    fn to_total(&self) -> Total {
        Total::Histogram(Histogram::from_point(self))
    }

    fn add_to(&self, total: &mut Total) -> bool {
        let Total::Histogram(total) = total else {
            return false;
        };
        let Some(sum) = total.plus(self) else {
            return false;
        };
        *total = sum;
        true
    }

    fn into_cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Histogram(total) = total {
            total.write_to(&mut self);
        }
        self
    }
}

// === impl ExponentialHistogramDataPoint ===

impl DeltaPoint for ExponentialHistogramDataPoint {
    fn problem(&self, _: bool) -> Option<(Reason, &'static str)> {
        if let Some(problem) = Exponential::problem(self) {
            return Some((Reason::InvalidHistogram, problem));
        }
        let infinite = self.sum.is_some_and(|sum| !sum.is_finite());
        infinite.then_some(SUM_NOT_FINITE)
    }

    fn to_total(&self) -> Total {
        Total::Exponential(Exponential::from_point(self))
    }

    fn add_to(&self, total: &mut Total) -> bool {
        let Total::Exponential(total) = total else {
            return false;
        };
        let Some(sum) = total.clone().plus(Exponential::from_point(self)) else {
            return false;
        };
        *total = sum;
        true
    }

    fn into_cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Exponential(total) = total {
            total.write_to(&mut self);
        }
        self
    }
}
