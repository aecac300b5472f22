//! Runs a short `integration load` with one kill, as a user does.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_killed_service_under_load_breaks_no_law() {
    let load = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["load", "--rate=2000", "--duration=20s", "--interval=5s"])
        .args(["--kill-every=10s", "--receivers=2", "--exporters=2"])
        .arg("--any-pace")
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, load).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("SIGKILL to"), "{stdout}");
    let figure = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    for name in ["lost", "out of order", "conflicting", "markers"] {
        assert_eq!(figure(name), "0", "{stdout}");
    }
}
