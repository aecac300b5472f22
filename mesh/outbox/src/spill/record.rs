//! A batch as a record of a segment.
//!
//! ```text
//! record: len u32 | crc32 of all that follows u32 | body of len bytes
//! body:   seq u64 | key u64 | samples u64 | time_ms i64 | raw bytes u64 |
//!         encoding u8 | facts len u32 | facts | payload
//! ```
//!
//! Numbers are little-endian. The facts are lines of the metadata that travels
//! with the batch: they change by reload, so each record has its own.

use std::{io, sync::Arc};

use bytes::{Buf, BufMut, Bytes};
use tonic::metadata::{AsciiMetadataKey, KeyAndValueRef, MetadataMap};

use super::super::packed::{Encoding, Packed};
use mesh_contract::batch::BatchContext;

/// A batch as a record of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its place among all batches: those of a key are sent in this order.
    pub(crate) seq: u64,
    pub(crate) key: u64,
    pub(crate) samples: u64,
    pub(crate) time_ms: i64,
    pub(crate) context: Arc<BatchContext>,
    pub(crate) payload: Packed,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The file ends before the record does, or was never written to its end: the
    /// process or the machine died.
    Torn,
    /// The bytes are not those that were written.
    Corrupt,
}

/// Bytes before the body.
const HEAD: usize = 8;
/// Bytes of the body's fixed fields.
const FIXED: usize = 5 * 8 + 1 + 4;

// === impl Record ===

impl Record {
    /// The encoded record.
    ///
    /// # Errors
    /// Where it is too large for the format.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let context = facts_to_text(&self.context);
        let payload = self.payload.bytes();
        let len = FIXED + context.len() + payload.len();
        let mut out = Vec::with_capacity(HEAD + len);
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
        let crc = crc32fast::hash(&out[HEAD..]);
        out[4..HEAD].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    /// The record at the start of `bytes`, and its length.
    pub(super) fn decode(bytes: &Bytes) -> Result<(Self, usize), Damage> {
        let mut head = bytes.get(..HEAD).ok_or(Damage::Torn)?;
        let (len, crc) = (head.get_u32_le() as usize, head.get_u32_le());
        // A file system may show bytes that it never wrote as zeros.
        if len == 0 && bytes.iter().all(|byte| *byte == 0) {
            return Err(Damage::Torn);
        }
        if len > bytes.len() - HEAD {
            return Err(Damage::Torn);
        }
        let body = bytes.slice(HEAD..HEAD + len);
        if crc32fast::hash(&body) != crc {
            return Err(Damage::Corrupt);
        }
        let record = Self::decode_body(body).ok_or(Damage::Corrupt)?;
        Ok((record, HEAD + len))
    }

    /// A body with the right checksum fails only where another version wrote it.
    fn decode_body(mut body: Bytes) -> Option<Self> {
        if body.len() < FIXED {
            return None;
        }
        let (seq, key, samples) = (body.get_u64_le(), body.get_u64_le(), body.get_u64_le());
        let time_ms = body.get_i64_le();
        let raw_bytes = usize::try_from(body.get_u64_le()).ok()?;
        let encoding = Encoding::from_number(body.get_u8())?;
        let facts_len = body.get_u32_le() as usize;
        if body.len() < facts_len {
            return None;
        }
        let context = body.split_to(facts_len);
        Some(Self {
            seq,
            key,
            samples,
            time_ms,
            context: Arc::new(facts_from_text(&context)?),
            payload: Packed::from_parts(body, encoding, raw_bytes),
        })
    }
}

fn facts_to_text(context: &BatchContext) -> String {
    let mut metadata = MetadataMap::new();
    context.write(&mut metadata);
    let mut text = String::new();
    for entry in metadata.iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry
            && let Ok(value) = value.to_str()
        {
            text.extend([key.as_str(), "=", value, "\n"]);
        }
    }
    text
}

fn facts_from_text(text: &[u8]) -> Option<BatchContext> {
    let mut metadata = MetadataMap::new();
    for line in std::str::from_utf8(text).ok()?.lines() {
        let (key, value) = line.split_once('=')?;
        let key = AsciiMetadataKey::from_bytes(key.as_bytes()).ok()?;
        metadata.insert(key, value.parse().ok()?);
    }
    BatchContext::read(&metadata).ok()
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
        (numbers, context, payload).prop_map(|(numbers, context, payload)| {
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
                payload: Packed::raw(payload.into()).pack(),
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_survives_the_file(record in any_record(), rest in "[a-z]{0,9}") {
            let mut bytes = record.encode().unwrap();
            let len = bytes.len();
            bytes.extend(rest.bytes());
            prop_assert_eq!(Record::decode(&bytes.into()), Ok((record, len)));
        }

        #[test]
        fn a_cut_record_is_torn(record in any_record(), cut: prop::sample::Index) {
            let mut bytes = record.encode().unwrap();
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(Record::decode(&bytes.into()), Err(Damage::Torn));
        }

        #[test]
        fn a_flipped_bit_is_never_a_record(record in any_record(), bit: prop::sample::Index) {
            let mut bytes = record.encode().unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(&bytes.into()).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&bytes.into());
        }
    }

    #[test]
    fn bytes_that_were_never_written_are_torn() {
        assert_eq!(Record::decode(&vec![0; 64].into()), Err(Damage::Torn));
    }
}
