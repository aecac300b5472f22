//! Progress of an Export within one destination.
//!
//! A backend that refuses whole requests may need more posts than one attempt allows until
//! its refused samples are found. Series that are decided must not be searched again. So
//! the failure tells the sender how many first series of each request part are decided,
//! and with which verdict. The retry skips them, at any exporter.

use std::fmt::Write;

use mesh_contract::verdict::{Reason, Verdict};
use xxhash_rust::xxh3::Xxh3;

use crate::remote_write::{PartOutcome, delivery::Decided, part::RequestPart, search::Counts};

/// Decided series of an Export at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Hash of all series of the Export at this destination. Another configuration may
    /// translate the Export to other series, for which the numbers mean nothing.
    fingerprint: u64,
    /// Decided series of each part.
    decided: Vec<Prefix>,
    /// Samples of all decided series that were not stored.
    verdict: Verdict,
}

/// Decided series of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// All series.
    All,
    /// Number of first series.
    First(usize),
}

/// Maximum length of the text for one destination. It travels in metadata.
const MAX_TEXT: usize = 200;
const DEDUPLICATED: &str = "deduplicated";

// === impl Resume ===

impl Resume {
    /// Begins an attempt with these parts, after an earlier one if it had the same series.
    pub fn new(parts: &[RequestPart], earlier: Option<&Self>) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(&(part.series_meta.len() as u64).to_le_bytes());
            for meta in &part.series_meta {
                hash.update(&meta.hash.to_le_bytes());
            }
        }
        let fingerprint = hash.digest();
        let same = |earlier: &&Self| {
            earlier.fingerprint == fingerprint && earlier.decided.len() == parts.len()
        };
        match earlier.filter(same) {
            Some(earlier) => earlier.clone(),
            None => Self {
                fingerprint,
                decided: vec![Prefix::First(0); parts.len()],
                verdict: Verdict::default(),
            },
        }
    }

    /// Returns the undecided rest of the part with this index, and the counts of its decided
    /// series. `None` if all are decided.
    pub fn rest(&self, index: usize, part: RequestPart) -> Option<(RequestPart, Counts)> {
        let decided = match self.decided[index] {
            Prefix::All => return None,
            Prefix::First(0) => return Some((part, Counts::default())),
            Prefix::First(decided) => decided,
        };
        let len = part.series_meta.len();
        let refused = usize::try_from(self.verdict.rejected_total()).unwrap_or(decided);
        let counts = Counts {
            decided,
            refused: refused.min(decided),
        };
        (decided < len).then(|| (part.slice(decided..len), counts))
    }

    /// Records the outcome of the part with this index, of `units` samples.
    pub fn record(&mut self, index: usize, outcome: &PartOutcome, units: u64) {
        let (decided, verdict) = match outcome {
            PartOutcome::Stored => (Prefix::All, None),
            PartOutcome::Deduplicated => {
                self.verdict.deduplicated += units;
                (Prefix::All, None)
            }
            PartOutcome::Rejected(verdict) => (Prefix::All, Some(verdict)),
            PartOutcome::Retry(_) => return,
            PartOutcome::Undecided {
                decided: Decided { series, verdict },
                ..
            } => match self.decided[index] {
                Prefix::First(before) => (Prefix::First(before + series), Some(verdict)),
                Prefix::All => return,
            },
        };
        self.decided[index] = decided;
        if let Some(verdict) = verdict {
            self.verdict.merge(verdict);
        }
    }

    /// Samples of the decided series that were not stored.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Encodes the progress as visible ASCII without `;`, `+` and `|`. `None` if it is too
    /// long, or if a retry may as well start over: a backend ignores samples that it has.
    pub fn encode(&self) -> Option<String> {
        let is_partial = |decided: &Prefix| matches!(decided, Prefix::First(n) if *n > 0);
        if self.verdict.rejected.is_empty() && !self.decided.iter().any(is_partial) {
            return None;
        }
        let mut text = format!("{:x}:", self.fingerprint);
        for (i, run) in self.decided.chunk_by(|a, b| a == b).enumerate() {
            let dot = if i == 0 { "" } else { "." };
            let decided = match run[0] {
                Prefix::All => "a".to_owned(),
                Prefix::First(n) => n.to_string(),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{dot}{decided}x{}", run.len());
        }
        let rejected = self.verdict.rejected.iter();
        let counts = rejected.map(|(reason, n)| format!("{}={n}", reason.as_str()));
        let deduplicated = format!("{DEDUPLICATED}={}", self.verdict.deduplicated);
        let counts: Vec<_> = counts.chain([deduplicated]).collect();
        let _ = write!(text, ":{}", counts.join(","));
        (text.len() <= MAX_TEXT).then_some(text)
    }

    /// Decodes the text of [`encode`](Self::encode).
    pub fn decode(text: &str) -> Option<Self> {
        let mut fields = text.split(':');
        let fingerprint = u64::from_str_radix(fields.next()?, 16).ok()?;
        let mut decided = Vec::new();
        for run in fields.next()?.split('.') {
            let (prefix, n) = run.split_once('x')?;
            let prefix = match prefix {
                "a" => Prefix::All,
                n => Prefix::First(n.parse().ok()?),
            };
            let n: usize = n.parse().ok()?;
            if decided.len() + n > MAX_PARTS {
                return None;
            }
            decided.extend(std::iter::repeat_n(prefix, n));
        }
        let verdict = verdict(fields.next()?)?;
        Some(Self {
            fingerprint,
            decided,
            verdict,
        })
    }
}

/// Maximum number of parts; the memory for them is taken before the Export is read.
const MAX_PARTS: usize = 1 << 20;

/// Decodes the counts of a verdict. Unknown reasons, which a newer exporter may send, count as
/// refused.
fn verdict(text: &str) -> Option<Verdict> {
    let mut verdict = Verdict::default();
    for count in text.split(',').filter(|count| !count.is_empty()) {
        let (outcome, n) = count.split_once('=')?;
        let n = n.parse().ok()?;
        let reason = Reason::ALL.into_iter().find(|r| r.as_str() == outcome);
        match reason {
            Some(reason) => verdict.reject(reason, n),
            None if outcome == DEDUPLICATED => verdict.deduplicated = n,
            None => verdict.reject(Reason::Refused, n),
        }
    }
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::ExportMemory,
        remote_write::{
            Retry, RetryCause,
            part::{EncodedLabels, PartBuilder, RequestLimits, Sample},
        },
    };

    /// Parts of three series each.
    fn parts(n: usize) -> Vec<RequestPart> {
        let limits = RequestLimits {
            series: 3,
            bytes: 1000,
        };
        let mut builder = PartBuilder::new(limits, ExportMemory::unlimited());
        for i in 0..3 * n {
            let series = EncodedLabels::new([("i", i.to_string().as_str())].into_iter());
            let sample = Sample {
                fields: b"",
                start_ms: 0,
                counted: true,
            };
            builder.push(series.as_ref(), sample).unwrap();
        }
        builder.finish().0
    }

    fn retry() -> Retry {
        Retry {
            cause: RetryCause::Unavailable,
            after: std::time::Duration::ZERO,
            settled: true,
            slow: false,
            message: String::new(),
        }
    }

    fn undecided(series: usize, rejected: u64) -> PartOutcome {
        let mut verdict = Verdict::default();
        verdict.reject(Reason::OutOfOrder, rejected);
        PartOutcome::Undecided {
            retry: retry(),
            decided: Decided { series, verdict },
        }
    }

    fn decoded(resume: &Resume) -> Resume {
        Resume::decode(&resume.encode().unwrap()).unwrap()
    }

    #[test]
    fn a_retry_continues_behind_the_decided_series() {
        let parts = parts(4);
        let mut first = Resume::new(&parts, None);
        assert_eq!(first.encode(), None);
        first.record(0, &PartOutcome::Stored, 3);
        first.record(1, &undecided(1, 1), 3);
        first.record(2, &PartOutcome::Deduplicated, 3);
        first.record(3, &PartOutcome::Retry(retry()), 3);
        let mut second = Resume::new(&parts, Some(&decoded(&first)));
        let rest = |resume: &Resume, index: usize| {
            let (rest, counts) = resume.rest(index, parts[index].slice(0..3))?;
            Some((rest.series_meta.len(), counts.decided, counts.refused))
        };
        let rests: Vec<_> = (0..4).map(|index| rest(&second, index)).collect();
        assert_eq!(rests, [None, Some((2, 1, 1)), None, Some((3, 0, 0))]);
        second.record(1, &undecided(1, 0), 2);
        second.record(3, &PartOutcome::Stored, 3);
        let third = Resume::new(&parts, Some(&decoded(&second)));
        let rests: Vec<_> = (0..4).map(|index| rest(&third, index)).collect();
        assert_eq!(rests, [None, Some((1, 2, 1)), None, None]);
        assert_eq!(third.verdict().rejected, [(Reason::OutOfOrder, 1)]);
        assert_eq!(third.verdict().deduplicated, 3);
    }

    #[test]
    fn other_series_start_over() {
        let mut first = Resume::new(&parts(2), None);
        first.record(0, &undecided(2, 1), 3);
        for other in [parts(1), parts(3), parts(2).into_iter().rev().collect()] {
            assert_eq!(
                Resume::new(&other, Some(&first)).verdict(),
                &Verdict::default()
            );
        }
        assert_eq!(Resume::new(&parts(2), Some(&first)), first);
    }

    #[test]
    fn leaves_out_a_long_text_and_one_that_saves_nothing() {
        let parts = parts(2000);
        let mut resume = Resume::new(&parts, None);
        for i in 0..1000 {
            resume.record(i, &PartOutcome::Stored, 3);
        }
        assert_eq!(resume.encode(), None);
        resume.record(1000, &undecided(2, 1), 3);
        assert!(resume.encode().is_some());
        for i in (1001..2000).step_by(2) {
            resume.record(i, &PartOutcome::Stored, 3);
        }
        assert_eq!(resume.encode(), None);
    }

    #[test]
    fn ignores_texts_that_it_does_not_know() {
        for text in [
            "",
            "1",
            "x:ax1:",
            "1:b:",
            "1:ax99999999999:",
            "1:ax1:too_old",
        ] {
            assert_eq!(Resume::decode(text), None, "{text}");
        }
        let future = Resume::decode("1:ax1:phase_of_the_moon=3").unwrap();
        assert_eq!(future.verdict().rejected, [(Reason::Refused, 3)]);
    }
}
