//! Results of a suite's cases.

use std::{
    fmt::{self, Display},
    panic::{self, AssertUnwindSafe},
};

/// Results of a suite's cases.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the suite.
    pub name: &'static str,
    /// Number of cases that passed.
    pub passed: usize,
    /// Cases that promesh deliberately fails, each with the reason.
    pub exempted: Vec<(String, &'static str)>,
    /// Cases that failed, each with the difference.
    pub failed: Vec<(String, String)>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            passed: 0,
            exempted: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Number of cases.
    pub fn total(&self) -> usize {
        self.passed + self.exempted.len() + self.failed.len()
    }

    /// Runs a case, which returns the difference.
    pub(super) fn case(&mut self, id: impl Display, case: impl FnOnce() -> Result<(), String>) {
        self.case_unless_exempt(id, None, case);
    }

    /// Runs a case that may have an exemption.
    pub(super) fn case_unless_exempt(
        &mut self,
        id: impl Display,
        exemption: Option<&'static str>,
        case: impl FnOnce() -> Result<(), String>,
    ) {
        let id = id.to_string();
        match (outcome(case), exemption) {
            (Ok(()), None) => self.passed += 1,
            (Err(why), None) => self.failed.push((id, why)),
            (Err(_), Some(reason)) => self.exempted.push((id, reason)),
            (Ok(()), Some(reason)) => {
                self.failed
                    .push((id, format!("passes, but is exempt: {reason}")));
            }
        }
    }

    /// Runs a case of a group that is exempt as a whole. It may pass or not.
    pub(super) fn case_of_exempt_group(
        &mut self,
        id: impl Display,
        reason: &'static str,
        case: impl FnOnce() -> Result<(), String>,
    ) {
        match outcome(case) {
            Ok(()) => self.passed += 1,
            Err(_) => self.exempted.push((id.to_string(), reason)),
        }
    }
}

/// Runs a case. A panic fails this case, but not the others.
fn outcome(case: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24} {}/{}", self.name, self.passed, self.total())?;
        if !self.exempted.is_empty() {
            write!(f, ", {} exempt", self.exempted.len())?;
        }
        writeln!(f)?;
        for (id, reason) in &self.exempted {
            writeln!(f, "    exempt {id}: {reason}")?;
        }
        for (id, why) in &self.failed {
            writeln!(f, "    FAILED {id}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_exemption_of_a_case_that_passes() {
        let mut report = Report::new("suite");
        report.case("passes", || Ok(()));
        report.case("fails", || Err("different".to_owned()));
        report.case("panics", || panic!("on purpose"));
        report.case_unless_exempt("exempted", Some("reason"), || Err("different".to_owned()));
        report.case_unless_exempt("not needed", Some("reason"), || Ok(()));
        assert_eq!((report.passed, report.total()), (1, 5));
        assert_eq!(report.exempted, [("exempted".to_owned(), "reason")]);
        let failed: Vec<_> = report.failed.iter().map(|(id, _)| &**id).collect();
        assert_eq!(failed, ["fails", "panics", "not needed"]);
    }
}
