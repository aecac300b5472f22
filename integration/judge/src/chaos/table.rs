//! The table of results.

use super::judge::Judgement;

/// Complaints that are shown of a scenario.
const SHOWN: usize = 12;

/// Prints what stands in each column.
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

/// Prints what a scenario cost.
pub(crate) fn print_line(name: &str, seed: u64, judgement: &Judgement) {
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
        if judgement.is_good() { "ok" } else { "FAILED" }
    );
    for complaint in judgement.complaints.iter().take(SHOWN) {
        println!("  {complaint}");
    }
    if let Some(more) = judgement.complaints.len().checked_sub(SHOWN + 1) {
        println!("  and {} more", more + 1);
    }
}
