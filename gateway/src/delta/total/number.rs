//! Sums.

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point::Value};

use super::{Delta, Total};

// === impl NumberDataPoint ===

impl Delta for NumberDataPoint {
    fn problem(&self, monotonic: bool) -> Option<(Reason, &'static str)> {
        let value = match self.value? {
            Value::AsInt(value) => value as f64,
            Value::AsDouble(value) => value,
        };
        // Neither could ever be taken back out of the total.
        if !value.is_finite() {
            return Some((Reason::Malformed, "a delta that is not finite"));
        }
        let falls = monotonic && value < 0.0;
        falls.then_some((Reason::Malformed, "a negative delta of a monotonic sum"))
    }

    fn begin(&self) -> Total {
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

    fn cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Number(total) = total {
            self.value = Some(*total);
        }
        self
    }
}
