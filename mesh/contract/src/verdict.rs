//! Verdicts: numbers of stored, deduplicated and rejected samples.
//!
//! A batch leaves its sender's outbox with an explicit verdict of an exporter. The verdict
//! is metadata of a successful Export, in samples or data points like the sender's
//! account. Stock OTLP senders read the same numbers from `partial_success`.

use tonic::metadata::MetadataMap;

/// Reason for which samples were rejected. A bounded set, usable as a metric label.
///
/// The names are those of AMP's metric `DiscardedSamples`, if AMP has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Older than the series' newest sample, outside the out-of-order window.
    OutOfOrder,
    /// The backend has another value for the timestamp.
    NewValueForTimestamp,
    /// Older than the backend accepts.
    TooOld,
    /// Further in the future than the backend accepts.
    TooFarInFuture,
    /// The workspace has reached its limit of active series.
    SeriesLimit,
    /// More or longer labels than the backend accepts.
    LabelLimit,
    /// A label name or value that the backend does not accept.
    InvalidLabel,
    /// No metric name, or one that the backend does not accept.
    InvalidName,
    /// The same label twice in one series.
    DuplicateLabel,
    /// A native histogram that the backend does not accept.
    InvalidHistogram,
    /// The workspace has reached its limit of HA clusters.
    HaClusterLimit,
    /// Data that promesh does not support, such as delta temporality.
    Unsupported,
    /// The gateway has reached its limit of delta streams.
    DeltaStreamLimit,
    /// The request is not valid OTLP.
    Malformed,
    /// Larger than the maximum request size.
    TooLarge,
    /// Any other permanent rejection. The log has the backend's message.
    Refused,
}

/// Outcome of the samples of one Export. All that are neither deduplicated nor rejected
/// are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Samples that the backend dropped as copies of another replica's (202).
    pub deduplicated: u64,
    /// Permanently rejected samples, by reason.
    pub rejected: Vec<(Reason, u64)>,
    /// Description of the first rejection, for the client. The response's body contains it.
    pub problem: Option<String>,
}

const DEDUPLICATED_KEY: &str = "promesh-deduplicated";
const REJECTED_KEY: &str = "promesh-rejected";

// === impl Reason ===

impl Reason {
    /// All reasons, in order of declaration.
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

    /// Returns the reason's name in metrics, logs and metadata.
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

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Returns the number of rejected samples.
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

    /// Adds the counts of another verdict. Keeps the first description.
    pub fn merge(&mut self, other: &Self) {
        if self.problem.is_none() {
            self.problem.clone_from(&other.problem);
        }
        self.deduplicated += other.deduplicated;
        for &(reason, n) in &other.rejected {
            self.reject(reason, n);
        }
    }

    /// Takes the part of the counts that concerns the first `samples` samples. A count of
    /// more samples than there are is a peer's mistake, which later samples inherit.
    #[must_use]
    pub fn take(&mut self, samples: u64) -> Self {
        let mut rest = samples;
        let mut take = |n: &mut u64| {
            let taken = rest.min(*n);
            (rest, *n) = (rest - taken, *n - taken);
            taken
        };
        let mut taken = Self {
            deduplicated: take(&mut self.deduplicated),
            ..Self::default()
        };
        for (reason, n) in &mut self.rejected {
            taken.reject(*reason, take(n));
        }
        if !taken.rejected.is_empty() {
            taken.problem.clone_from(&self.problem);
        }
        taken
    }

    /// Number of samples that are not stored.
    pub fn not_stored(&self) -> u64 {
        self.rejected_total() + self.deduplicated
    }

    /// Writes the counts into a response's metadata.
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

    /// Reads the counts from a response's metadata. Unknown reasons, which a newer exporter may
    /// send, count as [`Reason::Refused`].
    pub fn read(metadata: &MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let mut verdict = Self {
            deduplicated: text(DEDUPLICATED_KEY)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            ..Self::default()
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
    fn takes_the_counts_of_the_first_samples() {
        let mut rest = Verdict {
            deduplicated: 3,
            problem: Some("too old".to_owned()),
            ..Verdict::default()
        };
        rest.reject(Reason::TooOld, 4);
        let taken = [2, 3, 9].map(|samples| rest.take(samples));
        assert_eq!(taken.each_ref().map(|it| it.deduplicated), [2, 1, 0]);
        assert_eq!(taken.each_ref().map(Verdict::rejected_total), [0, 2, 2]);
        assert_eq!(taken.map(|it| it.problem.is_some()), [false, true, true]);
        assert_eq!(rest.not_stored(), 0);
    }

    #[test]
    fn an_unknown_reason_counts_as_refused() {
        let mut metadata = MetadataMap::new();
        metadata.insert(REJECTED_KEY, "phase_of_the_moon=3".parse().unwrap());
        assert_eq!(Verdict::read(&metadata).rejected, [(Reason::Refused, 3)]);
    }
}
