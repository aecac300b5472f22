//! The chaos as a user runs it: the scenarios that take the least time.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

const LIMIT: Duration = Duration::from_secs(900);
/// Any will do; this one repeats a failure.
const SEED: &str = "--seed=1";

#[tokio::test]
async fn what_goes_wrong_in_a_moment_costs_nothing() {
    let chaos = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["chaos", "--quick", SEED])
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, chaos).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{failed}");
    let lines: Vec<_> = shown
        .lines()
        .filter(|line| line.ends_with("  ok"))
        .collect();
    assert!(lines.len() > 1, "{shown}");
    for line in lines {
        // Lost, out of order, conflicting.
        let figures: Vec<_> = line.split_whitespace().skip(2).take(3).collect();
        assert_eq!(figures, ["0", "0", "0"], "{shown}");
    }
}
