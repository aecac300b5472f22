//! Progress of an Export over several destinations.
//!
//! A sender gets one acknowledgement per Export, after all destinations have completed
//! it. If one destination fails, the sender retries the same bytes, and the
//! destinations that completed the Export must not receive it twice. Exporters are
//! stateless, so the progress travels to the sender in the metadata of the failure. The
//! sender returns it with the retry, to any exporter.

use mesh_contract::{
    export::Progress,
    verdict::{Reason, Verdict},
};

/// Destinations that have completed an Export, and the verdict of the one that stored
/// least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationProgress {
    destinations: Vec<u64>,
    verdict: Verdict,
}

const DEDUPLICATED: &str = "deduplicated";

// === impl DestinationProgress ===

impl DestinationProgress {
    /// Decodes the progress that a sender returns. Unknown text counts as no progress:
    /// the exporter then writes to all destinations again, and backends ignore the
    /// duplicates.
    pub fn decode(progress: &Progress) -> Self {
        Self::parse(progress.as_str()).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let (names, counts) = text.split_once(';')?;
        let names = names
            .split(',')
            .map(|name| u64::from_str_radix(name, 16).ok());
        let mut progress = Self {
            destinations: names.collect::<Option<_>>()?,
            verdict: Verdict::default(),
        };
        for count in counts.split(',').filter(|count| !count.is_empty()) {
            let (outcome, n) = count.split_once('=')?;
            let n = n.parse().ok()?;
            match Reason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == outcome)
            {
                Some(reason) => progress.verdict.reject(reason, n),
                None if outcome == DEDUPLICATED => progress.verdict.deduplicated = n,
                None => progress.verdict.reject(Reason::Refused, n),
            }
        }
        Some(progress)
    }

    /// Returns true if `destination` has completed the Export.
    pub fn is_complete(&self, destination: &str) -> bool {
        self.destinations.contains(&hash(destination))
    }

    /// Returns true if no destination has completed the Export.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Records that `destination` completed the Export with `verdict`.
    pub fn record(&mut self, destination: &str, verdict: &Verdict) {
        self.destinations.push(hash(destination));
        let not_stored = |verdict: &Verdict| verdict.rejected_total() + verdict.deduplicated;
        if not_stored(verdict) > not_stored(&self.verdict) {
            self.verdict = verdict.clone();
        }
    }

    /// Verdict of the completed destination that stored least.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Encodes the progress for the sender.
    pub fn encode(&self) -> Progress {
        if self.is_empty() {
            return Progress::default();
        }
        let names: Vec<_> = self.destinations.iter().map(|h| format!("{h:x}")).collect();
        let rejected = self.verdict.rejected.iter();
        let counts = rejected.map(|(reason, n)| format!("{}={n}", reason.as_str()));
        let deduplicated = format!("{DEDUPLICATED}={}", self.verdict.deduplicated);
        let counts: Vec<_> = counts.chain([deduplicated]).collect();
        Progress::new(&format!("{};{}", names.join(","), counts.join(",")))
    }
}

/// Hashes a destination's name, because names may contain any character and metadata
/// must be short ASCII.
fn hash(destination: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(destination.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(reason: Reason, n: u64) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.reject(reason, n);
        verdict
    }

    #[test]
    fn decodes_encoded_progress() {
        let mut progress = DestinationProgress::default();
        assert_eq!(progress.encode(), Progress::default());
        progress.record("one, with; signs", &rejected(Reason::TooOld, 2));
        progress.record("two", &rejected(Reason::SeriesLimit, 3));
        progress.record("three", &Verdict::default());
        let decoded = DestinationProgress::decode(&progress.encode());
        assert_eq!(decoded, progress);
        assert!(decoded.is_complete("two") && !decoded.is_complete("four"));
        assert_eq!(decoded.verdict().rejected, [(Reason::SeriesLimit, 3)]);
    }

    #[test]
    fn ignores_unknown_progress() {
        for text in ["", "nonsense", "xyz;", "1;too_old", "1;too_old=x"] {
            assert!(
                DestinationProgress::decode(&Progress::new(text)).is_empty(),
                "{text}"
            );
        }
        let future = DestinationProgress::decode(&Progress::new("1;phase_of_the_moon=3"));
        assert_eq!(future.verdict.rejected, [(Reason::Refused, 3)]);
    }
}
