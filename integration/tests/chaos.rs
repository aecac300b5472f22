//! The chaos as a user runs it: the scenario that takes the least time.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_killed_exporter_costs_nothing() {
    let chaos = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["chaos", "kill-exporter"])
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, chaos).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{failed}");
    let line = shown
        .lines()
        .find(|line| line.starts_with("kill-exporter"))
        .unwrap();
    assert!(line.ends_with("ok"), "{shown}");
    // Lost, out of order, conflicting.
    let figures: Vec<_> = line.split_whitespace().skip(1).take(3).collect();
    assert_eq!(figures, ["0", "0", "0"], "{shown}");
}
