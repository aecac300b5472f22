//! The scenario that no mesh of processes can play: a day, which the simulation's
//! network and time make minutes of.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::judge::Judgement;
use stand_ins::amp::Outcome;
use simulate::{self, Verdict};

/// Simulates the day of a seed.
///
/// # Errors
/// Where a host of the simulation fails by itself.
pub(super) async fn play(seed: u64) -> anyhow::Result<Judgement> {
    Ok(judgement(
        spawn_blocking(move || simulate::day(seed)).await??,
    ))
}

/// What the simulation's judge says, in the columns of the chaos.
fn judgement(verdict: Verdict) -> Judgement {
    let broken = |law: &str| verdict.broken.iter().filter(|b| b.starts_with(law)).count();
    let mut complaints = verdict.broken.clone();
    if verdict.elections != 1 {
        complaints.push(format!("{} elections", verdict.elections));
    }
    Judgement {
        lost: broken("lost"),
        out_of_order: broken(Outcome::OutOfOrder.as_str()),
        conflicting: broken(Outcome::Conflict.as_str()),
        duplicates: verdict.duplicates as usize,
        overtaken: verdict.overtaken as usize,
        died: verdict.died as usize,
        elections: verdict.elections,
        missed_slots: verdict.missed.unsigned_abs() as usize,
        recovery: Some(Duration::from_millis(verdict.recovery_ms.unsigned_abs())),
        complaints,
        ..Judgement::default()
    }
}
