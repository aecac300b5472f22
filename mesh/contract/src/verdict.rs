//! A verdict: what became of a batch.
//!
//! Only an explicit verdict of an exporter removes a batch from its sender's
//! outbox. It travels back as metadata of a successful Export, one entry per
//! outcome, in the unit of the sender's ledger; stock OTLP senders read the same
//! numbers from `partial_success`.

use tonic::metadata::MetadataMap;

/// Why samples were not stored: a bounded set, fit for a metric's label.
///
/// The names are those of AMP's `DiscardedSamples` where AMP has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Older than a sample the backend has, outside its out-of-order window.
    OutOfOrder,
    /// Another value for a timestamp the backend has.
    NewValueForTimestamp,
    /// Older than the backend takes.
    TooOld,
    /// Further in the future than the backend takes.
    TooFarInFuture,
    /// The workspace has as many active series as it may have.
    SeriesLimit,
    /// More labels, or longer ones, than the backend takes.
    LabelLimit,
    /// A label name or value the backend does not take.
    InvalidLabel,
    /// No metric name, or one that the backend does not take.
    InvalidName,
    /// The same label twice in one series.
    DuplicateLabel,
    /// A native histogram that the backend does not take.
    InvalidHistogram,
    /// The workspace knows as many HA clusters as it may.
    HaClusterLimit,
    /// Something this mesh cannot carry, such as delta temporality.
    Unsupported,
    /// A gateway sums up as many delta streams as it may.
    DeltaStreamLimit,
    /// Bytes that are not OTLP.
    Malformed,
    /// Larger than a request may be.
    TooLarge,
    /// Any other terminal refusal; the log line has the backend's words.
    Refused,
}

/// What became of the samples of one Export.
///
/// What was neither deduplicated nor rejected is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Accepted by the backend and dropped as another replica's copy (202).
    pub deduplicated: u64,
    /// Refused for good, by reason.
    pub rejected: Vec<(Reason, u64)>,
}

const DEDUPLICATED_KEY: &str = "promesh-deduplicated";
const REJECTED_KEY: &str = "promesh-rejected";

// === impl Reason ===

impl Reason {
    /// All reasons, in the order they are declared.
    pub const ALL: [Self; 16] = [
        Self::OutOfOrder,
        Self::NewValueForTimestamp,
        Self::TooOld,
        Self::TooFarInFuture,
        Self::SeriesLimit,
        Self::LabelLimit,
        Self::InvalidLabel,
        Self::InvalidName,
        Self::DuplicateLabel,
        Self::InvalidHistogram,
        Self::HaClusterLimit,
        Self::Unsupported,
        Self::DeltaStreamLimit,
        Self::Malformed,
        Self::TooLarge,
        Self::Refused,
    ];

    /// The reason's name in metrics, logs and metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::NewValueForTimestamp => "new_value_for_timestamp",
            Self::TooOld => "too_old",
            Self::TooFarInFuture => "too_far_in_future",
            Self::SeriesLimit => "series_limit",
            Self::LabelLimit => "label_limit",
            Self::InvalidLabel => "invalid_label",
            Self::InvalidName => "invalid_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::InvalidHistogram => "invalid_histogram",
            Self::HaClusterLimit => "ha_cluster_limit",
            Self::Unsupported => "unsupported",
            Self::DeltaStreamLimit => "delta_stream_limit",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

// === impl Verdict ===

impl Verdict {
    /// How many samples were refused for good, whatever the reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|(_, n)| n).sum()
    }

    /// Counts `n` more samples as rejected for `reason`.
    pub fn reject(&mut self, reason: Reason, n: u64) {
        if n == 0 {
            return;
        }
        match self.rejected.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, total)) => *total += n,
            None => self.rejected.push((reason, n)),
        }
    }

    /// Adds another verdict's counts to this one's.
    pub fn merge(&mut self, other: &Self) {
        self.deduplicated += other.deduplicated;
        for &(reason, n) in &other.rejected {
            self.reject(reason, n);
        }
    }

    /// Writes the verdict into a response's metadata.
    pub fn write(&self, metadata: &mut MetadataMap) {
        if self.deduplicated > 0 {
            metadata.insert(DEDUPLICATED_KEY, self.deduplicated.into());
        }
        if !self.rejected.is_empty() {
            let parts: Vec<_> = self
                .rejected
                .iter()
                .map(|(reason, n)| format!("{}={n}", reason.as_str()))
                .collect();
            let value = parts.join(",").parse().expect("reasons are ASCII");
            metadata.insert(REJECTED_KEY, value);
        }
    }

    /// Reads the verdict of a response. A reason that a newer exporter knows and
    /// this sender does not is counted as [`Reason::Refused`].
    pub fn read(metadata: &MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let mut verdict = Self {
            deduplicated: text(DEDUPLICATED_KEY)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            rejected: Vec::new(),
        };
        for part in text(REJECTED_KEY).into_iter().flat_map(|t| t.split(',')) {
            if let Some((name, n)) = part.split_once('=') {
                let reason = Reason::from_name(name).unwrap_or(Reason::Refused);
                verdict.reject(reason, n.parse().unwrap_or(0));
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_wire() {
        let mut verdict = Verdict {
            deduplicated: 7,
            ..Default::default()
        };
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            verdict.reject(reason, i as u64 + 1);
        }
        let mut metadata = MetadataMap::new();
        verdict.write(&mut metadata);
        assert_eq!(Verdict::read(&metadata), verdict);
    }

    #[test]
    fn a_reason_of_tomorrow_is_still_counted() {
        let mut metadata = MetadataMap::new();
        metadata.insert(REJECTED_KEY, "phase_of_the_moon=3".parse().unwrap());
        assert_eq!(Verdict::read(&metadata).rejected, [(Reason::Refused, 3)]);
    }
}
