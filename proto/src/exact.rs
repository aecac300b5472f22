//! Encoding that preserves negative zeros.
//!
//! proto3 omits a `double` field with its default value, positive zero. prost
//! compares by value, so it omits a negative zero too. For Prometheus that is a
//! different value, since the bits differ.

use prost::Message;

use crate::v1;

/// Key of `Histogram.sum`: field 3, wire type I64.
const HISTOGRAM_SUM: u8 = 3 << 3 | 1;
/// Key of `Exemplar.value`: field 2, wire type I64.
const EXEMPLAR_VALUE: u8 = 2 << 3 | 1;

// === impl Histogram ===

impl v1::Histogram {
    /// Encodes the message and preserves the sign of a zero sum.
    pub fn encode_exactly(&self) -> Vec<u8> {
        with_negative_zero(self.encode_to_vec(), HISTOGRAM_SUM, self.sum)
    }
}

// === impl Exemplar ===

impl v1::Exemplar {
    /// Encodes the message and preserves the sign of a zero value.
    pub fn encode_exactly(&self) -> Vec<u8> {
        with_negative_zero(self.encode_to_vec(), EXEMPLAR_VALUE, self.value)
    }
}

/// Appends the field that prost omits for a negative zero. Protobuf allows fields in
/// any order.
fn with_negative_zero(mut encoded: Vec<u8>, key: u8, value: f64) -> Vec<u8> {
    if value.to_bits() == (-0.0_f64).to_bits() {
        encoded.push(key);
        encoded.extend_from_slice(&value.to_le_bytes());
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preserves_the_sign_of_zeros() {
        for zero in [0.0_f64, -0.0] {
            let histogram = v1::Histogram {
                sum: zero,
                schema: 3,
                ..Default::default()
            };
            let read = v1::Histogram::decode(histogram.encode_exactly().as_slice()).unwrap();
            assert_eq!(read.sum.to_bits(), zero.to_bits());
            assert_eq!(read.schema, 3);
            let exemplar = v1::Exemplar {
                value: zero,
                timestamp: 5,
                ..Default::default()
            };
            let read = v1::Exemplar::decode(exemplar.encode_exactly().as_slice()).unwrap();
            assert_eq!(read.value.to_bits(), zero.to_bits());
            assert_eq!(read.timestamp, 5);
        }
    }
}
