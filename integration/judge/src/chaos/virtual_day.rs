//! The scenario `virtual-day`. Only the simulation can run it, since it takes a day.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::judge::Judgement;
use simulate::Report;
use stand_ins::amp::Outcome;

/// Simulates the day of a seed.
///
/// # Errors
/// Returns an error if a host of the simulation fails.
pub(super) async fn run(seed: u64) -> anyhow::Result<Judgement> {
    Ok(judgement(
        spawn_blocking(move || simulate::simulate_day(seed)).await??,
    ))
}

/// Converts the simulation's report into the columns of `chaos`.
fn judgement(report: Report) -> Judgement {
    let broken = |law: &str| {
        report
            .violations
            .iter()
            .filter(|b| b.starts_with(law))
            .count()
    };
    let mut violations = report.violations.clone();
    if report.elections != 1 {
        violations.push(format!("{} elections", report.elections));
    }
    Judgement {
        lost: broken("lost"),
        out_of_order: broken(Outcome::OutOfOrder.as_str()),
        conflicting: broken(Outcome::Conflict.as_str()),
        duplicates: report.duplicates as usize,
        overtaken: report.overtaken as usize,
        died: report.lost_in_memory as usize,
        elections: report.elections,
        missed_slots: report.missed.unsigned_abs() as usize,
        recovery: Some(Duration::from_millis(report.recovery_ms.unsigned_abs())),
        violations,
        ..Judgement::default()
    }
}
