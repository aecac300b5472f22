//! What became of a push, and how OTLP tells it.

use mesh::verdict::{Reason, Verdict};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};

/// What became of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many of its data points were refused, and why.
    pub(crate) verdict: Verdict,
    /// Some of the refusals, in words.
    problems: Vec<String>,
}

/// A client gets as many words as a developer reads.
const MAX_PROBLEMS: usize = 3;
/// A metric's name may be long.
const MAX_PROBLEM: usize = 300;

// === impl Taken ===

impl Taken {
    /// Counts points as refused; `problem` says of which metric and why.
    pub(crate) fn reject(&mut self, reason: Reason, points: u64, problem: impl FnOnce() -> String) {
        self.verdict.reject(reason, points);
        if points > 0 && self.problems.len() < MAX_PROBLEMS {
            let mut problem = problem();
            if problem.len() > MAX_PROBLEM {
                let end = (0..=MAX_PROBLEM)
                    .rev()
                    .find(|i| problem.is_char_boundary(*i));
                problem.truncate(end.unwrap_or(0));
                problem.push('…');
            }
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// Adds what another gateway says of its part.
    pub(crate) fn merge(&mut self, verdict: &Verdict, words: String) {
        self.verdict.merge(verdict);
        if !words.is_empty() && self.problems.len() < MAX_PROBLEMS {
            self.problems.push(words);
        }
    }

    /// Nothing where all was taken, else a partial success.
    pub(crate) fn response(&self) -> ExportMetricsServiceResponse {
        let rejected = self.verdict.rejected_total();
        let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: self.message(),
        });
        ExportMetricsServiceResponse { partial_success }
    }

    fn message(&self) -> String {
        let reasons = self.verdict.rejected.iter();
        let reasons: Vec<_> = reasons
            .map(|(reason, n)| format!("{n} {}", reason.as_str()))
            .collect();
        let mut message = format!("data points rejected for good: {}", reasons.join(", "));
        for problem in &self.problems {
            message.push_str("; ");
            message.push_str(problem);
        }
        message
    }
}
