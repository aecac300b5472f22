//! A batch: what one scrape of one target, or one resource of one OTLP push,
//! became.
//!
//! A batch is encoded once and sent again byte for byte until the backend has
//! spoken. Its payload is one encoded `ResourceMetrics` with the field header it
//! has inside an `ExportMetricsServiceRequest`, so that payloads joined end to
//! end are such a request (protobuf's repeated fields concatenate).

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use mesh_model::labels::Labels;

/// What one scrape of one target, or one resource of one OTLP push, became.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Identity of the target or the resource. Batches of one key are delivered
    /// in the order they were pushed; it picks the lane.
    pub key: u64,
    /// Encoded `ResourceMetrics` entries of an `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// How many samples the batch holds: the unit of the ledger. For a scrape
    /// they are Prometheus samples, for a push OTLP data points.
    pub samples: u64,
    /// When its samples were acquired, milliseconds since the Unix epoch. It decides
    /// when the batch is too old for the backend. Not the oldest sample's time: a
    /// single old one must not expire the others.
    pub time_ms: i64,
    /// What holds for all its series.
    pub context: Arc<BatchContext>,
}

/// Where a batch came from, which decides how it is translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A Prometheus target: names, labels and values are carried over as they
    /// are.
    Scrape,
    /// An OpenTelemetry SDK or any other OTLP sender: the specification's
    /// translation rules apply.
    #[default]
    Otlp,
}

/// The labels by which the backend elects one of several replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ha {
    /// Value of the `cluster` label.
    pub cluster: String,
    /// Value of the `__replica__` label: the replica group's name.
    pub replica: String,
}

/// What holds for all series of a batch; travels as gRPC metadata beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchContext {
    /// Scraped, or pushed.
    pub origin: Origin,
    /// The HA pair's labels, stamped last on every series.
    pub ha: Option<Ha>,
    /// `global.external_labels` without the HA pair, added to every series that
    /// does not have them.
    pub external_labels: Labels,
}

/// A batch fact in gRPC metadata could not be read.
#[derive(Debug, thiserror::Error)]
#[error("metadata {key}: {problem}")]
pub struct BatchContextError {
    key: &'static str,
    problem: String,
}

const ORIGIN_KEY: &str = "promesh-origin";
const CLUSTER_KEY: &str = "promesh-cluster";
const REPLICA_KEY: &str = "promesh-replica";
const EXTERNAL_LABELS_KEY: &str = "promesh-external-labels";

// === impl Batch ===

impl Batch {
    /// Frames one encoded `ResourceMetrics` as field 1 of an
    /// `ExportMetricsServiceRequest`.
    pub fn frame(resource_metrics: &[u8]) -> Bytes {
        let mut framed = BytesMut::with_capacity(resource_metrics.len() + 11);
        framed.put_u8(1 << 3 | 2);
        let mut len = resource_metrics.len() as u64;
        while len >= 0x80 {
            framed.put_u8(len as u8 | 0x80);
            len >>= 7;
        }
        framed.put_u8(len as u8);
        framed.put_slice(resource_metrics);
        framed.freeze()
    }

    /// How long ago its samples were acquired.
    pub fn age(&self, now_ms: i64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.time_ms).max(0) as u64)
    }
}

// === impl BatchContext ===

impl BatchContext {
    /// Writes the facts into a request's metadata.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let origin = match self.origin {
            Origin::Scrape => "scrape",
            Origin::Otlp => "otlp",
        };
        metadata.insert(ORIGIN_KEY, AsciiMetadataValue::from_static(origin));
        if let Some(ha) = &self.ha {
            metadata.insert(CLUSTER_KEY, escape(&ha.cluster));
            metadata.insert(REPLICA_KEY, escape(&ha.replica));
        }
        if !self.external_labels.is_empty() {
            let pairs: Vec<_> = self
                .external_labels
                .iter()
                .flat_map(|(n, v)| [n, v])
                .map(escape_text)
                .collect();
            let value = pairs.join(",").parse().expect("escaped text is ASCII");
            metadata.insert(EXTERNAL_LABELS_KEY, value);
        }
    }

    /// Reads the facts of a request; what a stock OTLP sender does not say takes
    /// its default.
    ///
    /// # Errors
    /// Where a fact is malformed, or only one of cluster and replica is given.
    pub fn read(metadata: &MetadataMap) -> Result<Self, BatchContextError> {
        let origin = match text(metadata, ORIGIN_KEY)?.as_deref() {
            None | Some("otlp") => Origin::Otlp,
            Some("scrape") => Origin::Scrape,
            Some(other) => {
                return Err(BatchContextError::new(
                    ORIGIN_KEY,
                    format!("{other:?}, expected scrape or otlp"),
                ));
            }
        };
        let ha = match (text(metadata, CLUSTER_KEY)?, text(metadata, REPLICA_KEY)?) {
            (Some(cluster), Some(replica)) => Some(Ha { cluster, replica }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(BatchContextError::new(
                    CLUSTER_KEY,
                    "given without a replica",
                ));
            }
            (None, Some(_)) => {
                return Err(BatchContextError::new(
                    REPLICA_KEY,
                    "given without a cluster",
                ));
            }
        };
        Ok(Self {
            origin,
            ha,
            external_labels: external_labels(metadata)?,
        })
    }
}

// === impl BatchContextError ===

impl BatchContextError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { key, problem }
    }
}

fn external_labels(metadata: &MetadataMap) -> Result<Labels, BatchContextError> {
    let Some(value) = ascii(metadata, EXTERNAL_LABELS_KEY)? else {
        return Ok(Labels::default());
    };
    let parts: Vec<_> = value
        .split(',')
        .map(|part| unescape(EXTERNAL_LABELS_KEY, part))
        .collect::<Result<_, _>>()?;
    if parts.len() % 2 != 0 {
        let problem = "an odd number of parts, expected pairs of name and value";
        return Err(BatchContextError::new(EXTERNAL_LABELS_KEY, problem));
    }
    Ok(parts
        .chunks_exact(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .collect())
}

fn text(metadata: &MetadataMap, key: &'static str) -> Result<Option<String>, BatchContextError> {
    ascii(metadata, key)?
        .map(|value| unescape(key, value))
        .transpose()
}

fn ascii<'a>(
    metadata: &'a MetadataMap,
    key: &'static str,
) -> Result<Option<&'a str>, BatchContextError> {
    metadata
        .get(key)
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| BatchContextError::new(key, "not visible ASCII"))
}

fn escape(text: &str) -> AsciiMetadataValue {
    escape_text(text).parse().expect("escaped text is ASCII")
}

/// Percent-encodes all but unreserved characters, so that any text is a legal
/// metadata value and a comma can separate two of them.
fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unescape(key: &'static str, escaped: &str) -> Result<String, BatchContextError> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let byte = byte.ok_or_else(|| BatchContextError::new(key, "a % without two hex digits"))?;
        bytes.push(byte);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| BatchContextError::new(key, "not UTF-8 once unescaped"))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        #[test]
        fn facts_survive_the_wire(
            ha in proptest::option::of((".*", ".*")),
            external in proptest::collection::vec(("[a-z_é,%]{1,8}", ".{1,8}"), 0..4),
        ) {
            let context = BatchContext {
                origin: Origin::Scrape,
                ha: ha.map(|(cluster, replica)| Ha { cluster, replica }),
                external_labels: external.into_iter().collect(),
            };
            let mut metadata = MetadataMap::new();
            context.write(&mut metadata);
            prop_assert_eq!(BatchContext::read(&metadata).unwrap(), context);
        }

        #[test]
        fn joined_frames_are_a_request(sizes in proptest::collection::vec(0usize..400, 0..4)) {
            let resources: Vec<_> = sizes
                .into_iter()
                .map(|n| ResourceMetrics { schema_url: "x".repeat(n), ..Default::default() })
                .collect();
            let joined: Vec<u8> = resources
                .iter()
                .flat_map(|r| Batch::frame(&r.encode_to_vec()))
                .collect();
            let request = ExportMetricsServiceRequest::decode(joined.as_slice()).unwrap();
            prop_assert_eq!(request.resource_metrics, resources);
        }
    }

    #[test]
    fn a_stock_sender_has_default_facts() {
        assert_eq!(
            BatchContext::read(&MetadataMap::new()).unwrap(),
            BatchContext::default()
        );
    }

    #[test]
    fn half_an_ha_pair_is_refused() {
        let mut metadata = MetadataMap::new();
        metadata.insert(REPLICA_KEY, "a".parse().unwrap());
        let error = BatchContext::read(&metadata).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metadata promesh-replica: given without a cluster"
        );
    }
}
