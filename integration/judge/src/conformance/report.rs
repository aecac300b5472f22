//! What became of a suite's cases.

use std::{
    fmt::{self, Display},
    panic::{self, AssertUnwindSafe},
};

/// What became of a suite's cases.
#[derive(Clone, Debug)]
pub struct Report {
    /// The suite.
    pub name: &'static str,
    /// Cases that are met.
    pub passed: usize,
    /// Cases that promesh means not to meet, each with the reason.
    pub excused: Vec<(String, &'static str)>,
    /// Cases that are not met, each with what is different.
    pub failed: Vec<(String, String)>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            passed: 0,
            excused: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// How many cases there were.
    pub fn total(&self) -> usize {
        self.passed + self.excused.len() + self.failed.len()
    }

    /// Runs a case, which tells what is different.
    pub(super) fn case(&mut self, id: impl Display, case: impl FnOnce() -> Result<(), String>) {
        self.listed(id, None, case);
    }

    /// Runs a case that may be on the list of those not to be met, with a reason.
    pub(super) fn listed(
        &mut self,
        id: impl Display,
        excuse: Option<&'static str>,
        case: impl FnOnce() -> Result<(), String>,
    ) {
        let id = id.to_string();
        match (outcome(case), excuse) {
            (Ok(()), None) => self.passed += 1,
            (Err(why), None) => self.failed.push((id, why)),
            (Err(_), Some(reason)) => self.excused.push((id, reason)),
            (Ok(()), Some(reason)) => {
                self.failed
                    .push((id, format!("is met, but excused: {reason}")));
            }
        }
    }

    /// Runs a case that belongs to a group which is excused as a whole: it may be
    /// met or not.
    pub(super) fn excusable(
        &mut self,
        id: impl Display,
        reason: &'static str,
        case: impl FnOnce() -> Result<(), String>,
    ) {
        match outcome(case) {
            Ok(()) => self.passed += 1,
            Err(_) => self.excused.push((id.to_string(), reason)),
        }
    }
}

/// A panic is that case's failure, not the end of all others.
fn outcome(case: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24} {}/{}", self.name, self.passed, self.total())?;
        if !self.excused.is_empty() {
            write!(f, ", {} excused", self.excused.len())?;
        }
        writeln!(f)?;
        for (id, reason) in &self.excused {
            writeln!(f, "    excused {id}: {reason}")?;
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
    fn an_excuse_holds_only_for_what_is_not_met() {
        let mut report = Report::new("suite");
        report.case("met", || Ok(()));
        report.case("not met", || Err("different".to_owned()));
        report.case("panics", || panic!("on purpose"));
        report.listed("excused", Some("reason"), || Err("different".to_owned()));
        report.listed("not needed", Some("reason"), || Ok(()));
        assert_eq!((report.passed, report.total()), (1, 5));
        assert_eq!(report.excused, [("excused".to_owned(), "reason")]);
        let failed: Vec<_> = report.failed.iter().map(|(id, _)| &**id).collect();
        assert_eq!(failed, ["not met", "panics", "not needed"]);
    }
}
