//! Batches: the samples of one scrape, or of one resource of an OTLP push.
//!
//! A batch is encoded once. Retries send the same bytes until there is a verdict. The
//! payload is one encoded `ResourceMetrics` with the field header that it has inside an
//! `ExportMetricsServiceRequest`. Concatenated payloads are therefore such a request,
//! because protobuf's repeated fields concatenate.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue, MetadataMap};

use mesh_model::labels::Labels;
use mesh_wire::protobuf::{bytes_len, put_bytes};

/// Samples of one scrape of a target, or of one resource of an OTLP push.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Hash of the target or the resource. It selects the lanes. Batches of one key are
    /// delivered in the order they were pushed.
    pub key: u64,
    /// Encoded `ResourceMetrics` entries of an `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// Number of samples, the unit of the account. A scrape counts Prometheus samples, a
    /// push counts OTLP data points.
    pub samples: u64,
    /// Time of the scrape or push, in milliseconds since the Unix epoch. It decides when
    /// the batch is too old for the backend. The oldest sample's time would let one old
    /// sample expire the others.
    pub time_ms: i64,
    /// Properties of all its series.
    pub context: Arc<BatchContext>,
}

/// Source of a batch, which decides how the exporter translates it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A Prometheus target: names, labels and values stay as they are.
    Scrape,
    /// An OTLP sender: the translation rules of the OpenTelemetry specification apply.
    #[default]
    Otlp,
}

/// Labels of the HA pair, by which the backend elects one of several replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ha {
    /// Value of the `cluster` label.
    pub cluster: String,
    /// Value of the `__replica__` label: name of the replica group.
    pub replica: String,
}

/// Properties of all series of a batch. They travel as gRPC metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchContext {
    /// Source of the series.
    pub origin: Origin,
    /// Labels of the HA pair. The exporter sets them on each series, after all others.
    pub ha: Option<Ha>,
    /// `global.external_labels` without the HA pair. The exporter adds those that a series
    /// does not have.
    pub external_labels: Labels,
}

/// Malformed batch context in gRPC metadata.
#[derive(Debug, thiserror::Error)]
#[error("metadata {key}: {problem}")]
pub struct BatchContextError {
    key: &'static str,
    problem: String,
}

const ORIGIN_KEY: &str = "promesh-origin";
const CLUSTER_KEY: &str = "promesh-cluster-bin";
const REPLICA_KEY: &str = "promesh-replica-bin";
const EXTERNAL_LABELS_KEY: &str = "promesh-external-labels-bin";

/// External labels in metadata.
#[derive(Clone, PartialEq, prost::Message)]
struct LabelMap {
    #[prost(btree_map = "string, string", tag = "1")]
    labels: BTreeMap<String, String>,
}

// === impl Batch ===

impl Batch {
    /// Frames one encoded `ResourceMetrics` as field 1 of an
    /// `ExportMetricsServiceRequest`.
    pub fn frame(resource_metrics: &[u8]) -> Bytes {
        let mut framed = Vec::with_capacity(bytes_len(1, resource_metrics.len()));
        put_bytes(1, resource_metrics, &mut framed);
        framed.into()
    }

    /// Returns the time since the scrape or push.
    pub fn age(&self, now_ms: i64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.time_ms).max(0) as u64)
    }
}

// === impl BatchContext ===

impl BatchContext {
    /// Writes the context into a request's metadata.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let origin = match self.origin {
            Origin::Scrape => "scrape",
            Origin::Otlp => "otlp",
        };
        metadata.insert(ORIGIN_KEY, AsciiMetadataValue::from_static(origin));
        let mut insert = |key, value: &[u8]| {
            metadata.insert_bin(key, BinaryMetadataValue::from_bytes(value));
        };
        if let Some(ha) = &self.ha {
            insert(CLUSTER_KEY, ha.cluster.as_bytes());
            insert(REPLICA_KEY, ha.replica.as_bytes());
        }
        if !self.external_labels.is_empty() {
            let labels = LabelMap::from(&self.external_labels);
            insert(EXTERNAL_LABELS_KEY, &labels.encode_to_vec());
        }
    }

    /// Reads the context of a request. Keys that a stock OTLP sender does not send have
    /// their defaults.
    ///
    /// # Errors
    /// Returns an error if a value is malformed, or if only one of cluster and replica is
    /// given.
    pub fn read(metadata: &MetadataMap) -> Result<Self, BatchContextError> {
        let origin = match metadata.get(ORIGIN_KEY).map(AsciiMetadataValue::as_bytes) {
            None | Some(b"otlp") => Origin::Otlp,
            Some(b"scrape") => Origin::Scrape,
            Some(other) => {
                let problem = format!("{:?}, expected scrape or otlp", other.escape_ascii());
                return Err(BatchContextError::new(ORIGIN_KEY, problem));
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

// === impl LabelMap ===

impl From<&Labels> for LabelMap {
    fn from(labels: &Labels) -> Self {
        let labels = labels.iter();
        Self {
            labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        }
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
    let Some(bytes) = binary(metadata, EXTERNAL_LABELS_KEY)? else {
        return Ok(Labels::default());
    };
    let labels = LabelMap::decode(bytes)
        .map_err(|error| BatchContextError::new(EXTERNAL_LABELS_KEY, error.to_string()))?;
    Ok(labels.labels.into_iter().collect())
}

fn text(metadata: &MetadataMap, key: &'static str) -> Result<Option<String>, BatchContextError> {
    let Some(bytes) = binary(metadata, key)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes.into());
    text.map(Some)
        .map_err(|_| BatchContextError::new(key, "not UTF-8"))
}

fn binary(metadata: &MetadataMap, key: &'static str) -> Result<Option<Bytes>, BatchContextError> {
    metadata
        .get_bin(key)
        .map(BinaryMetadataValue::to_bytes)
        .transpose()
        .map_err(|_| BatchContextError::new(key, "not base64"))
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
        fn context_survives_the_wire(
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
        fn concatenated_frames_are_a_request(sizes in proptest::collection::vec(0usize..400, 0..4)) {
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
    fn a_stock_sender_has_the_default_context() {
        assert_eq!(
            BatchContext::read(&MetadataMap::new()).unwrap(),
            BatchContext::default()
        );
    }

    #[test]
    fn rejects_half_an_ha_pair() {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(REPLICA_KEY, BinaryMetadataValue::from_bytes(b"a"));
        let error = BatchContext::read(&metadata).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metadata promesh-replica-bin: given without a cluster"
        );
    }
}
