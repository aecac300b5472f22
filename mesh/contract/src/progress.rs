//! Progress of a batch over several destinations.
//!
//! An Export without a destination is for all destinations of the exporter. If one of them
//! fails, the sender retries the same bytes, and the destinations that completed the batch
//! must not receive it twice. Exporters are stateless, so the progress travels to the sender
//! in the metadata of the failure. The sender returns it with the retry, to any exporter.

use crate::{
    export::Progress,
    verdict::{Reason, Verdict},
};

/// Destinations that have completed a batch, and the verdict of the one that stored
/// least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationProgress {
    destinations: Vec<u64>,
    verdict: Verdict,
    /// Destinations that have decided some of the series, each with the exporter's text about
    /// them.
    partial: Vec<(u64, String)>,
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
        let mut sections = text.split(';');
        let (names, counts) = (sections.next()?, sections.next()?);
        let hash = |name: &str| u64::from_str_radix(name, 16).ok();
        let names = names.split(',').filter(|name| !name.is_empty()).map(hash);
        let partial = sections.next().into_iter().flat_map(|text| text.split('+'));
        let partial = partial.map(|text| {
            let (name, resume) = text.split_once(':')?;
            Some((hash(name)?, resume.to_owned()))
        });
        let mut progress = Self {
            destinations: names.collect::<Option<_>>()?,
            verdict: Verdict::default(),
            partial: partial.collect::<Option<_>>()?,
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

    /// Progress of a batch that is stored at the destinations with these hashes.
    pub fn at(destinations: Vec<u64>) -> Self {
        Self {
            destinations,
            ..Self::default()
        }
    }

    /// Returns true if `destination` has completed the batch.
    pub fn is_complete(&self, destination: &str) -> bool {
        self.destinations.contains(&hash(destination))
    }

    /// Returns true if no destination has decided any series.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.partial.is_empty()
    }

    /// Series that `destination` has decided in earlier attempts, as
    /// [`record_partial`](Self::record_partial) got them.
    pub fn partial(&self, destination: &str) -> Option<&str> {
        let hash = hash(destination);
        let mut partial = self.partial.iter();
        partial.find_map(|(name, decided)| (*name == hash).then_some(&**decided))
    }

    /// Progress that `destination` has made with a part of the series, without the others'.
    #[must_use]
    pub fn only_partial(&self, destination: &str) -> Self {
        let mut progress = Self::default();
        let decided = self.partial(destination).map(str::to_owned);
        progress.record_partial(destination, decided);
        progress
    }

    /// Records the series that `destination` has decided so far, as visible ASCII without
    /// `;`, `+` and `|`.
    pub fn record_partial(&mut self, destination: &str, decided: Option<String>) {
        let hash = hash(destination);
        self.partial.retain(|(name, _)| *name != hash);
        self.partial.extend(decided.map(|decided| (hash, decided)));
    }

    /// Records that `destination` completed the batch with `verdict`.
    pub fn record(&mut self, destination: &str, verdict: &Verdict) {
        let hash = hash(destination);
        self.partial.retain(|(name, _)| *name != hash);
        self.destinations.push(hash);
        if verdict.not_stored() > self.verdict.not_stored() {
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
        let partial = self.partial.iter();
        let partial: Vec<_> = partial
            .map(|(name, decided)| format!("{name:x}:{decided}"))
            .collect();
        let mut text = format!("{};{}", names.join(","), counts.join(","));
        if !partial.is_empty() {
            text.push(';');
            text.push_str(&partial.join("+"));
        }
        Progress::new(&text)
    }
}

/// Hashes a destination's name, because names may contain any character and metadata
/// must be short ASCII.
pub fn hash(destination: &str) -> u64 {
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
    fn decodes_series_that_destinations_have_decided() {
        let partial = |n| Some(format!("f00:ax1.{n}x1:out_of_order={n},deduplicated=0"));
        let mut progress = DestinationProgress::default();
        progress.record_partial("one", partial(3));
        progress.record_partial("two", partial(4));
        progress.record_partial("one", partial(5));
        let decoded = DestinationProgress::decode(&progress.encode());
        assert_eq!(decoded, progress);
        assert_eq!(decoded.partial("one"), partial(5).as_deref());
        assert!(!decoded.is_complete("one"));
        progress.record("one", &Verdict::default());
        assert_eq!(progress.partial("one"), None);
        let decoded = DestinationProgress::decode(&progress.encode());
        assert_eq!(decoded, progress);
        assert!(decoded.is_complete("one"));
    }

    #[test]
    fn ignores_unknown_progress() {
        for text in ["", "nonsense", "xyz;", "1;too_old", "1;too_old=x", ";;x:1"] {
            assert!(
                DestinationProgress::decode(&Progress::new(text)).is_empty(),
                "{text}"
            );
        }
        let future = DestinationProgress::decode(&Progress::new("1;phase_of_the_moon=3"));
        assert_eq!(future.verdict.rejected, [(Reason::Refused, 3)]);
    }
}
