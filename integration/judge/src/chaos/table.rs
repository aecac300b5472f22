//! Table of results.

use super::judge::Judgement;

/// Maximum number of violations shown for a scenario.
const SHOWN: usize = 12;

/// Prints the names of the columns.
pub(crate) fn print_header() {
    println!(
        "{:<24} {:>6} {:>6} {:>8} {:>8} {:>6} {:>7} {:>9} {:>7} {:>9} {:>6} {:>7} {:>9} {:>8}",
        "scenario",
        "seed",
        "lost",
        "disorder",
        "conflict",
        "dupl.",
        "markers",
        "elections",
        "missed",
        "overtaken",
        "died",
        "expired",
        "peak MiB",
        "recovery"
    );
}

/// Prints the cost of a scenario.
pub(crate) fn print_line(name: &str, seed: u64, judgement: &Judgement, is_void: bool) {
    let recovery = judgement.recovery.map_or_else(
        || "never".to_owned(),
        |recovery| format!("{:.1} s", recovery.as_secs_f64()),
    );
    println!(
        "{name:<24} {seed:>6} {:>6} {:>8} {:>8} {:>6} {:>7} {:>9} {:>7} {:>9} {:>6} {:>7} {:>9} {recovery:>8}  {}",
        judgement.lost,
        judgement.out_of_order,
        judgement.conflicting,
        judgement.duplicates,
        judgement.markers,
        judgement.elections,
        judgement.missed_slots,
        judgement.overtaken,
        judgement.died,
        judgement.expired,
        judgement.peak_memory >> 20,
        match (judgement.passed(), is_void) {
            (true, _) => "ok",
            (false, true) => "VOID",
            (false, false) => "FAILED",
        }
    );
    let violations: Vec<_> = judgement.all_violations().collect();
    for violation in violations.iter().take(SHOWN) {
        println!("  {violation}");
    }
    if violations.len() > SHOWN {
        println!("  and {} more", violations.len() - SHOWN);
    }
}
