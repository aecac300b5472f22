//! Destinations that have spoken for an Export while others have not.
//!
//! A sender knows one acknowledgement: all destinations have what is theirs. One
//! that fails makes it send the same bytes again, and those that have stored them
//! must not be written to twice. Exporters keep nothing, so what is known travels
//! to the sender with the failure and comes back with the retry, to whichever
//! exporter takes it.

use mesh::{
    export::Progress,
    verdict::{Reason, Verdict},
};

use super::answer::Answer;

/// Which destinations have spoken, and what the one that stored least has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    destinations: Vec<u64>,
    verdict: Verdict,
}

const DEDUPLICATED: &str = "deduplicated";

// === impl Spoken ===

impl Spoken {
    /// Reads what a sender sends back. What is not ours says nothing: then the
    /// destinations are written to again, which they take as a repetition.
    pub fn read(progress: &Progress) -> Self {
        Self::parse(progress.as_str()).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let (names, counts) = text.split_once(';')?;
        let names = names
            .split(',')
            .map(|name| u64::from_str_radix(name, 16).ok());
        let mut spoken = Self {
            destinations: names.collect::<Option<_>>()?,
            verdict: Verdict::default(),
        };
        for count in counts.split(',').filter(|count| !count.is_empty()) {
            let (what, n) = count.split_once('=')?;
            let n = n.parse().ok()?;
            match Reason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == what)
            {
                Some(reason) => spoken.verdict.reject(reason, n),
                None if what == DEDUPLICATED => spoken.verdict.deduplicated = n,
                None => spoken.verdict.reject(Reason::Refused, n),
            }
        }
        Some(spoken)
    }

    /// Whether this destination has spoken.
    pub fn has(&self, destination: &str) -> bool {
        self.destinations.contains(&hash(destination))
    }

    /// Whether any has.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    /// Notes what a destination answered.
    pub fn note(&mut self, destination: &str, answer: &Answer) {
        self.destinations.push(hash(destination));
        let lost = |verdict: &Verdict| verdict.rejected_total() + verdict.deduplicated;
        if lost(&answer.verdict) > lost(&self.verdict) {
            self.verdict = answer.verdict.clone();
        }
    }

    /// What those that have spoken had to say.
    pub fn answer(&self) -> Answer {
        Answer {
            verdict: self.verdict.clone(),
            ..Answer::default()
        }
    }

    /// What the sender is told.
    pub fn progress(&self) -> Progress {
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

/// Names may have any characters; their hashes are short and are ASCII.
fn hash(destination: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(destination.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reason: Reason, n: u64) -> Answer {
        let mut answer = Answer::default();
        answer.verdict.reject(reason, n);
        answer
    }

    #[test]
    fn what_was_spoken_comes_back() {
        let mut spoken = Spoken::default();
        assert_eq!(spoken.progress(), Progress::default());
        spoken.note("one, with; signs", &answer(Reason::TooOld, 2));
        spoken.note("two", &answer(Reason::SeriesLimit, 3));
        spoken.note("three", &Answer::default());
        let read = Spoken::read(&spoken.progress());
        assert_eq!(read, spoken);
        assert!(read.has("two") && !read.has("four"));
        assert_eq!(read.answer().verdict.rejected, [(Reason::SeriesLimit, 3)]);
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        for text in ["", "nonsense", "xyz;", "1;too_old", "1;too_old=x"] {
            assert!(Spoken::read(&Progress::new(text)).is_empty(), "{text}");
        }
        let tomorrow = Spoken::read(&Progress::new("1;phase_of_the_moon=3"));
        assert_eq!(tomorrow.verdict.rejected, [(Reason::Refused, 3)]);
    }
}
