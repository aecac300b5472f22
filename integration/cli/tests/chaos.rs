//! Runs the quick scenarios of `integration chaos` as a user does.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

const LIMIT: Duration = Duration::from_secs(900);
/// A fixed seed, so that a failure repeats.
const SEED: &str = "--seed=1";

#[tokio::test]
async fn quick_scenarios_lose_nothing() {
    let chaos = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["chaos", "--quick", SEED])
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, chaos).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let lines: Vec<_> = stdout
        .lines()
        .filter(|line| line.ends_with("  ok"))
        .collect();
    assert!(lines.len() > 1, "{stdout}");
    for line in lines {
        // Columns: lost, out of order, conflicting.
        let figures: Vec<_> = line.split_whitespace().skip(2).take(3).collect();
        assert_eq!(figures, ["0", "0", "0"], "{stdout}");
    }
}
