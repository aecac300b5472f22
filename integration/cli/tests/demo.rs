//! Runs the demo as a user does. Scrapes time out after an interval, which is long enough for
//! a busy machine.

use tokio::process::Command;

async fn demo(flags: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["demo", "--once", "--scrape-interval=4s"])
        .args(flags)
        .output()
        .await
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("everything arrived exactly once, labelled right"),
        "{stdout}"
    );
}

#[tokio::test]
async fn delivers_every_sample_once() {
    demo(&[]).await;
}

#[tokio::test]
async fn delivers_over_https_while_an_exporter_is_killed() {
    demo(&["--https", "--kill-exporter", "--scrapes=8"]).await;
}
