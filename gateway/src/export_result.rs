//! Result of a push, and the OTLP response that reports it.

use mesh_contract::verdict::{Reason, Verdict};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};

/// Verdict on a push's data points, with details for the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExportResult {
    /// Number of rejected data points by reason.
    pub(crate) verdict: Verdict,
    /// Descriptions of the first rejections, at most [`MAX_PROBLEMS`].
    problems: Vec<String>,
}

/// Maximum number of rejections that the response describes.
const MAX_PROBLEMS: usize = 3;
/// Maximum bytes of one description, since metric names can be long.
const MAX_PROBLEM: usize = 300;

// === impl ExportResult ===

impl ExportResult {
    /// Counts points as rejected. `problem` names the metric and describes the reason.
    pub(crate) fn reject(&mut self, reason: Reason, points: u64, problem: impl FnOnce() -> String) {
        self.verdict.reject(reason, points);
        if points > 0 && self.problems.len() < MAX_PROBLEMS {
            self.describe(problem());
        }
    }

    /// Merges the verdict of an exporter or of another gateway.
    pub(crate) fn merge(&mut self, verdict: &Verdict) {
        self.verdict.merge(verdict);
        if let Some(problem) = &verdict.problem {
            self.describe(problem.clone());
        }
    }

    fn describe(&mut self, mut problem: String) {
        if self.problems.len() == MAX_PROBLEMS {
            return;
        }
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

    /// Builds the OTLP response: a partial success if points were rejected.
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
        let mut message = format!("data points rejected: {}", reasons.join(", "));
        for problem in &self.problems {
            message.push_str("; ");
            message.push_str(problem);
        }
        message
    }
}
