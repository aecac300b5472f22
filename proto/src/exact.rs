//! Encoding that keeps a negative zero.
//!
//! A `double` field of proto3 is left out where it has its default, positive zero.
//! prost compares by value and so leaves out a negative zero too, which is another
//! value to Prometheus: its bits differ.

use prost::Message;

use crate::v1;

/// Key of `Histogram.sum`: field 3, eight bytes.
const HISTOGRAM_SUM: u8 = 3 << 3 | 1;
/// Key of `Exemplar.value`: field 2, eight bytes.
const EXEMPLAR_VALUE: u8 = 2 << 3 | 1;

// === impl Histogram ===

impl v1::Histogram {
    /// The encoded message, its sum to the bit.
    pub fn encode_exactly(&self) -> Vec<u8> {
        with_negative_zero(self.encode_to_vec(), HISTOGRAM_SUM, self.sum)
    }
}

// === impl Exemplar ===

impl v1::Exemplar {
    /// The encoded message, its value to the bit.
    pub fn encode_exactly(&self) -> Vec<u8> {
        with_negative_zero(self.encode_to_vec(), EXEMPLAR_VALUE, self.value)
    }
}

/// Fields may come in any order, so what prost left out goes to the end.
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
    fn zeros_keep_their_signs() {
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
