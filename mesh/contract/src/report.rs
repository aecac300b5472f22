//! Reports: what an exporter says about the single batches of an Export.
//!
//! An Export joins batches of different targets or clients. An exporter gives each of them
//! an outcome of its own, so that one batch cannot delay or spoil the others. The outcomes
//! are fields of the response's body that stock OTLP clients skip.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap, MetadataValue};

use crate::{
    export::Progress,
    verdict::{Reason, Verdict},
};

/// Outcome of one batch of an Export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The backend has answered.
    Verdict(Verdict),
    /// The sender has to retry the batch.
    Retry(BatchRetry),
}

/// Failure of one batch of an Export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchRetry {
    /// Minimum delay of the retry.
    pub after: Duration,
    /// `true` if no part of the batch is in flight any more.
    pub is_settled: bool,
    /// `true` if the backend is up but slow, so that a longer deadline will help.
    pub is_slow: bool,
    /// Description of the failure.
    pub message: String,
    /// Destinations that have completed the batch.
    pub progress: Progress,
}

/// Response of a successful Export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportResponse {
    /// Verdict on all batches that have one.
    pub verdict: Verdict,
    /// Outcomes of the batches, by their index in the Export. A batch that is not listed is
    /// stored. Empty for an Export of one batch, and from a stock OTLP server.
    pub batches: BTreeMap<u32, BatchOutcome>,
    /// Names of the exporter's destinations. Empty from a stock OTLP server.
    pub destinations: Vec<String>,
}

/// Sizes of the batches of an Export, in bytes of its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchSizes(Vec<u32>);

/// The sizes of the batches in a request's metadata are malformed.
#[derive(Debug, thiserror::Error)]
#[error(
    "metadata {BATCHES_KEY}: {found:?}; expected the sizes of the batches, {expected} bytes in all"
)]
pub struct BatchSizesError {
    found: String,
    expected: usize,
}

/// Maximum number of batches in an Export.
pub const MAX_BATCHES: usize = 256;

/// Maximum number of destinations of an exporter. Senders follow no more.
pub const MAX_DESTINATIONS: usize = 63;

/// Metadata key of [`BatchSizes`] in requests.
const BATCHES_KEY: &str = "promesh-batches";
/// Metadata key of the names of all destinations, in responses and failures. Names are
/// separated by line ends.
const DESTINATIONS_KEY: &str = "promesh-destinations-bin";
/// Metadata key of an Export to all destinations whose sender can send a separate Export to
/// each, in requests.
const SEPARABLE_KEY: &str = "promesh-separable";
/// Metadata key of the only destination of an Export, in requests.
const DESTINATION_KEY: &str = "promesh-destination-bin";

/// Body of a response: an `ExportMetricsServiceResponse` with fields of ours.
#[derive(Clone, PartialEq, Message)]
struct EncodedResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportMetricsPartialSuccess>,
    #[prost(message, repeated, tag = "1000")]
    batches: Vec<EncodedOutcome>,
}

#[derive(Clone, PartialEq, Message)]
struct EncodedOutcome {
    /// Index of the batch.
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(uint64, tag = "2")]
    deduplicated: u64,
    #[prost(message, repeated, tag = "3")]
    rejected: Vec<EncodedRejection>,
    /// Description of the first rejection, or of the failure.
    #[prost(string, tag = "4")]
    message: String,
    #[prost(message, optional, tag = "5")]
    retry: Option<EncodedRetry>,
}

#[derive(Clone, PartialEq, Message)]
struct EncodedRejection {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(uint64, tag = "2")]
    samples: u64,
}

#[derive(Clone, PartialEq, Message)]
struct EncodedRetry {
    #[prost(uint64, tag = "1")]
    after_ms: u64,
    #[prost(bool, tag = "2")]
    is_settled: bool,
    #[prost(bool, tag = "3")]
    is_slow: bool,
    #[prost(string, tag = "4")]
    progress: String,
}

// === impl ExportResponse ===

impl ExportResponse {
    /// Reads the body and the metadata of a response.
    ///
    /// A promesh exporter sends the counts as metadata. A stock OTLP server sends the number
    /// of rejected points only; they count as [`Reason::Refused`]. Both describe the first
    /// rejection in the body.
    pub fn read(metadata: &MetadataMap, body: Bytes) -> Self {
        let mut verdict = Verdict::read(metadata);
        let response = EncodedResponse::decode(body).unwrap_or_default();
        if let Some(partial) = response.partial_success {
            if verdict == Verdict::default() {
                let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
                verdict.reject(Reason::Refused, rejected);
            }
            if !verdict.rejected.is_empty() && !partial.error_message.is_empty() {
                verdict.problem = Some(partial.error_message);
            }
        }
        let batches = response.batches.into_iter();
        Self {
            verdict,
            batches: batches.map(|it| (it.index, it.into())).collect(),
            destinations: read_destinations(metadata),
        }
    }

    /// Encodes the body. Writes the counts and the destinations into the metadata.
    pub fn write(self, metadata: &mut MetadataMap) -> Bytes {
        self.verdict.write(metadata);
        write_destinations(&self.destinations, metadata);
        let rejected = self.verdict.rejected_total();
        let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: self.verdict.problem.unwrap_or_default(),
        });
        let batches = self.batches.into_iter();
        let body = EncodedResponse {
            partial_success,
            batches: batches
                .map(|(index, outcome)| EncodedOutcome::new(index, outcome))
                .collect(),
        };
        body.encode_to_vec().into()
    }
}

impl From<Verdict> for ExportResponse {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            ..Self::default()
        }
    }
}

// === impl EncodedOutcome ===

impl EncodedOutcome {
    fn new(index: u32, outcome: BatchOutcome) -> Self {
        match outcome {
            BatchOutcome::Verdict(verdict) => Self {
                index,
                deduplicated: verdict.deduplicated,
                rejected: verdict
                    .rejected
                    .iter()
                    .map(|(reason, samples)| EncodedRejection {
                        reason: reason.as_str().to_owned(),
                        samples: *samples,
                    })
                    .collect(),
                message: verdict.problem.unwrap_or_default(),
                retry: None,
            },
            BatchOutcome::Retry(retry) => Self {
                index,
                message: retry.message,
                retry: Some(EncodedRetry {
                    after_ms: retry.after.as_millis() as u64,
                    is_settled: retry.is_settled,
                    is_slow: retry.is_slow,
                    progress: retry.progress.as_str().to_owned(),
                }),
                ..Self::default()
            },
        }
    }
}

impl From<EncodedOutcome> for BatchOutcome {
    fn from(encoded: EncodedOutcome) -> Self {
        if let Some(retry) = encoded.retry {
            return Self::Retry(BatchRetry {
                after: Duration::from_millis(retry.after_ms),
                is_settled: retry.is_settled,
                is_slow: retry.is_slow,
                message: encoded.message,
                progress: Progress::new(&retry.progress),
            });
        }
        let mut verdict = Verdict {
            deduplicated: encoded.deduplicated,
            problem: Some(encoded.message).filter(|message| !message.is_empty()),
            ..Verdict::default()
        };
        for rejection in encoded.rejected {
            let reason = Reason::from_name(&rejection.reason).unwrap_or(Reason::Refused);
            verdict.reject(reason, rejection.samples);
        }
        Self::Verdict(verdict)
    }
}

// === impl BatchSizes ===

impl BatchSizes {
    /// Sizes of the batches of a payload, in their order.
    pub fn new(sizes: Vec<u32>) -> Self {
        Self(sizes)
    }

    /// Splits a payload of batches of these sizes. Without sizes it is one batch.
    pub fn of(&self, mut payload: Bytes) -> Vec<Bytes> {
        if self.0.len() < 2 {
            return vec![payload];
        }
        let sizes = self.0.iter();
        let batches = sizes.map(|size| payload.split_to(payload.len().min(*size as usize)));
        batches.collect()
    }

    /// Writes the sizes into the metadata of a request. One batch needs none.
    pub fn write(&self, metadata: &mut MetadataMap) {
        if self.0.len() < 2 {
            return;
        }
        let sizes: Vec<_> = self.0.iter().map(u32::to_string).collect();
        let value = sizes.join(",").parse().expect("digits are ASCII");
        metadata.insert(BATCHES_KEY, value);
    }

    /// Reads the sizes of a request and splits its payload. A request without sizes has one
    /// batch.
    ///
    /// # Errors
    /// Returns an error if the sizes are malformed or are not those of the payload.
    pub fn split(metadata: &MetadataMap, payload: &Bytes) -> Result<Vec<Bytes>, BatchSizesError> {
        let Some(value) = metadata.get(BATCHES_KEY) else {
            return Ok(vec![payload.clone()]);
        };
        let malformed = || BatchSizesError {
            found: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            expected: payload.len(),
        };
        let (mut rest, mut batches) = (payload.clone(), Vec::new());
        for size in value.to_str().map_err(|_| malformed())?.split(',') {
            let size = size.parse::<usize>().map_err(|_| malformed())?;
            if size > rest.len() || batches.len() == MAX_BATCHES {
                return Err(malformed());
            }
            batches.push(rest.split_to(size));
        }
        if rest.is_empty() {
            Ok(batches)
        } else {
            Err(malformed())
        }
    }
}

/// Writes the names of all destinations into the metadata of a response or a failure.
pub fn write_destinations(names: &[String], metadata: &mut MetadataMap) {
    if !names.is_empty() {
        let value = BinaryMetadataValue::from_bytes(names.join("\n").as_bytes());
        metadata.insert_bin(DESTINATIONS_KEY, value);
    }
}

/// Reads the names of all destinations from the metadata of a response or a failure.
pub fn read_destinations(metadata: &MetadataMap) -> Vec<String> {
    let names = text(metadata, DESTINATIONS_KEY).unwrap_or_default();
    let names = names.lines().filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Writes the only destination of an Export into the metadata of its request.
pub(crate) fn write_destination(name: &str, metadata: &mut MetadataMap) {
    metadata.insert_bin(DESTINATION_KEY, MetadataValue::from_bytes(name.as_bytes()));
}

/// Writes into the metadata of a request that the sender can send separate Exports.
pub(crate) fn mark_separable(metadata: &mut MetadataMap) {
    metadata.insert(SEPARABLE_KEY, MetadataValue::from_static("1"));
}

/// Returns true if the sender of an Export can send a separate one to each destination.
pub fn is_separable(metadata: &MetadataMap) -> bool {
    metadata.contains_key(SEPARABLE_KEY)
}

/// Reads the only destination of an Export. `None` means all.
pub fn read_destination(metadata: &MetadataMap) -> Option<String> {
    text(metadata, DESTINATION_KEY)
}

fn text(metadata: &MetadataMap, key: &'static str) -> Option<String> {
    let bytes = metadata.get_bin(key)?.to_bytes().ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(reason: Reason, samples: u64, problem: &str) -> Verdict {
        let mut verdict = Verdict {
            problem: Some(problem.to_owned()),
            ..Verdict::default()
        };
        verdict.reject(reason, samples);
        verdict
    }

    #[test]
    fn a_response_survives_the_wire() {
        let retry = BatchRetry {
            after: Duration::from_millis(1_250),
            is_settled: true,
            is_slow: true,
            message: "slow down".to_owned(),
            progress: Progress::new("1f;deduplicated=3"),
        };
        let response = ExportResponse {
            verdict: rejected(Reason::TooOld, 3, "too old"),
            batches: BTreeMap::from([
                (
                    0,
                    BatchOutcome::Verdict(rejected(Reason::TooOld, 3, "too old")),
                ),
                (2, BatchOutcome::Retry(retry)),
            ]),
            destinations: vec!["eu, west".to_owned(), "ü".to_owned()],
        };
        let mut metadata = MetadataMap::new();
        let body = response.clone().write(&mut metadata);
        assert_eq!(ExportResponse::read(&metadata, body), response);
    }

    #[test]
    fn a_stock_servers_partial_success_is_a_verdict() {
        let response = EncodedResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 3,
                error_message: "no".to_owned(),
            }),
            batches: Vec::new(),
        };
        let read = ExportResponse::read(&MetadataMap::new(), response.encode_to_vec().into());
        assert_eq!(read.verdict, rejected(Reason::Refused, 3, "no"));
    }

    #[test]
    fn splits_a_payload_into_its_batches() {
        let payload = Bytes::from_static(b"aabbbc");
        let mut metadata = MetadataMap::new();
        BatchSizes::new(vec![2, 3, 1]).write(&mut metadata);
        let batches = BatchSizes::split(&metadata, &payload).unwrap();
        assert_eq!(batches, ["aa", "bbb", "c"]);
        let whole = BatchSizes::split(&MetadataMap::new(), &payload).unwrap();
        assert_eq!(whole.concat(), payload);
        for wrong in ["2,3", "2,3,2", "2,x,1", "-1,7", ""] {
            metadata.insert(BATCHES_KEY, wrong.parse().unwrap());
            let error = BatchSizes::split(&metadata, &payload).unwrap_err();
            assert!(error.to_string().contains("6 bytes in all"), "{error}");
        }
    }
}
