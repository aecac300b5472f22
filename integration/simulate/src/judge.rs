//! Judges a run by the project's laws. It compares the scrapes that targets answered, the Exports
//! and accounts of the receivers, and the ledger of the AMP stand-in.
//!
//! ```text
//! answered by a target ─▶ sent by a receiver ─▶ arrived at the backend
//!              schedule                 delivery           ledger, silence
//! ```

mod delivery;
mod ledger;
mod report;
mod schedule;
mod silence;

use stand_ins::amp::Outcome;

use self::ledger::Arrived;
pub use self::report::Report;
use super::record::Record;

/// Judges a run by the record of each destination.
pub(super) fn judge(records: &[Record]) -> Report {
    let reports = records.iter().map(judge_destination);
    reports.reduce(Report::merge).unwrap_or_default()
}

fn judge_destination(record: &Record) -> Report {
    let duplicates = record.arrivals.iter();
    let duplicates = duplicates.filter(|a| a.outcome == Outcome::Duplicate);
    let mut report = Report {
        seed: record.seed,
        destination: record.destination.clone(),
        scrapes: record.scrapes.len(),
        elections: record.elections,
        duplicates: duplicates.count() as u64,
        digest: record.digest(),
        ..Report::default()
    };
    let arrived = Arrived::new(record);
    report.check_outcomes(record);
    report.check_deliveries(record, &arrived);
    report.check_origins(record, &arrived);
    report.check_scrapes(record);
    report.check_slots(record);
    report.check_recovery(record);
    report.check_silences(record);
    report
}

#[cfg(test)]
mod tests;
