//! The encoding of a batch as a record of a segment.
//!
//! ```text
//! record: len u32 | crc32 of the body u32 | body of len bytes
//! body:   seq u64 | key u64 | samples u64 | time_ms i64 | raw bytes u64 |
//!         encoding u8 | context len u32 | context | payload
//! ```
//!
//! Numbers are little-endian. The context is the gRPC metadata of the batch, one
//! `key=value` per line. Each record has its own, since a reload can change it. The line
//! `completed` lists the destinations that had the batch when it was written: a crash before
//! the partly-done file is written must not send it to them again, behind later batches.

use std::{io, sync::Arc};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName};
use tonic::metadata::MetadataMap;

use super::super::packed::{Encoding, Packed};
use mesh_contract::batch::BatchContext;

/// A batch in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Sequence number among all batches. The batches of a key are sent in this order.
    pub(crate) seq: u64,
    pub(crate) key: u64,
    pub(crate) samples: u64,
    pub(crate) time_ms: i64,
    pub(crate) context: Arc<BatchContext>,
    /// Hashes of the destinations that have completed the batch.
    pub(crate) completed: Vec<u64>,
    pub(crate) payload: Packed,
}

/// Reason why a record cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The record is incomplete, since the process or the machine crashed during a write.
    Torn,
    /// The bytes are not those that were written.
    Corrupt,
}

/// Bytes of the header before the body.
const HEADER: usize = 8;
/// Line of the context that lists hashes of destinations. It is no metadata key.
const COMPLETED: &str = "completed";
/// Bytes of the fixed fields in the body.
const FIXED: usize = 5 * 8 + 1 + 4;

// === impl Record ===

impl Record {
    /// Encodes the record.
    ///
    /// # Errors
    /// Returns an error if the record exceeds 4 GiB.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut context = context_to_text(&self.context);
        if !self.completed.is_empty() {
            let hashes = self.completed.iter().map(|hash| format!("{hash:x}"));
            let hashes: Vec<_> = hashes.collect();
            context.extend([COMPLETED, "=", &hashes.join(","), "\n"]);
        }
        let payload = self.payload.bytes();
        let len = FIXED + context.len() + payload.len();
        let mut out = Vec::with_capacity(HEADER + len);
        out.put_u32_le(u32::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?);
        out.put_u32_le(0);
        out.put_u64_le(self.seq);
        out.put_u64_le(self.key);
        out.put_u64_le(self.samples);
        out.put_i64_le(self.time_ms);
        out.put_u64_le(self.payload.raw_bytes() as u64);
        out.put_u8(self.payload.encoding() as u8);
        out.put_u32_le(context.len() as u32);
        out.put_slice(context.as_bytes());
        out.put_slice(payload);
        let crc = crc32fast::hash(&out[HEADER..]);
        out[4..HEADER].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    /// Decodes the record at the start of `bytes`, and returns its length too.
    pub(super) fn decode(bytes: &Bytes) -> Result<(Self, usize), Damage> {
        let mut head = bytes.get(..HEADER).ok_or(Damage::Torn)?;
        let (len, crc) = (head.get_u32_le() as usize, head.get_u32_le());
        // A file system may return zeros for bytes that it never wrote.
        if len == 0 && bytes.iter().all(|byte| *byte == 0) {
            return Err(Damage::Torn);
        }
        if len > bytes.len() - HEADER {
            return Err(Damage::Torn);
        }
        let body = bytes.slice(HEADER..HEADER + len);
        if crc32fast::hash(&body) != crc {
            return Err(Damage::Corrupt);
        }
        let record = Self::decode_body(body).ok_or(Damage::Corrupt)?;
        Ok((record, HEADER + len))
    }

    /// Decodes a body with a valid checksum. Fails only if another version wrote it.
    fn decode_body(mut body: Bytes) -> Option<Self> {
        if body.len() < FIXED {
            return None;
        }
        let (seq, key, samples) = (body.get_u64_le(), body.get_u64_le(), body.get_u64_le());
        let time_ms = body.get_i64_le();
        let raw_bytes = usize::try_from(body.get_u64_le()).ok()?;
        let encoding = Encoding::from_number(body.get_u8())?;
        let context_len = body.get_u32_le() as usize;
        if body.len() < context_len {
            return None;
        }
        let context = body.split_to(context_len);
        let context = std::str::from_utf8(&context).ok()?;
        Some(Self {
            seq,
            key,
            samples,
            time_ms,
            context: Arc::new(context_from_text(context)?),
            completed: completed_from_text(context)?,
            payload: Packed::from_parts(body, encoding, raw_bytes),
        })
    }
}

fn context_to_text(context: &BatchContext) -> String {
    let mut metadata = MetadataMap::new();
    context.write(&mut metadata);
    let mut text = String::new();
    // As headers, binary values are base64.
    for (name, value) in &metadata.into_headers() {
        if let Ok(value) = value.to_str() {
            text.extend([name.as_str(), "=", value, "\n"]);
        }
    }
    text
}

fn context_from_text(text: &str) -> Option<BatchContext> {
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once('=')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, value.parse().ok()?);
    }
    BatchContext::read(&MetadataMap::from_headers(headers)).ok()
}

fn completed_from_text(text: &str) -> Option<Vec<u64>> {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    let hashes = lines.find(|(name, _)| *name == COMPLETED);
    let hashes = hashes.into_iter().flat_map(|(_, hashes)| hashes.split(','));
    hashes
        .map(|hash| u64::from_str_radix(hash, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use mesh_contract::batch::{Ha, Origin};

    fn any_record() -> impl Strategy<Value = Record> {
        let context = (
            any::<bool>(),
            proptest::option::of((".*", ".*")),
            proptest::collection::vec((".{1,8}", ".{1,8}"), 0..3),
        );
        let payload = proptest::collection::vec(any::<u8>(), 0..300);
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<i64>());
        let completed = proptest::collection::vec(any::<u64>(), 0..3);
        (numbers, context, payload, completed).prop_map(|(numbers, context, payload, completed)| {
            let (seq, key, samples, time_ms) = numbers;
            let (scraped, ha, external_labels) = context;
            let origin = if scraped {
                Origin::Scrape
            } else {
                Origin::Otlp
            };
            let context = BatchContext {
                origin,
                ha: ha.map(|(cluster, replica)| Ha { cluster, replica }),
                external_labels: external_labels.into_iter().collect(),
            };
            Record {
                seq,
                key,
                samples,
                time_ms,
                context: Arc::new(context),
                completed,
                payload: Packed::raw(payload.into()).pack(),
            }
        })
    }

    proptest! {
        #[test]
        fn decodes_an_encoded_record(record in any_record(), rest in "[a-z]{0,9}") {
            let mut bytes = record.encode().unwrap();
            let len = bytes.len();
            bytes.extend(rest.bytes());
            prop_assert_eq!(Record::decode(&bytes.into()), Ok((record, len)));
        }

        #[test]
        fn a_truncated_record_is_torn(record in any_record(), cut: prop::sample::Index) {
            let mut bytes = record.encode().unwrap();
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(Record::decode(&bytes.into()), Err(Damage::Torn));
        }

        #[test]
        fn detects_a_flipped_bit(record in any_record(), bit: prop::sample::Index) {
            let mut bytes = record.encode().unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(&bytes.into()).is_err());
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&bytes.into());
        }
    }

    #[test]
    fn zeros_are_torn() {
        assert_eq!(Record::decode(&vec![0; 64].into()), Err(Damage::Torn));
    }
}
