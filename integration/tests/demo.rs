//! The demo as a user runs it.

use tokio::process::Command;

async fn demo(flags: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_integration"))
        .args(["demo", "--once", "--scrape-interval=1s"])
        .args(flags)
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{failed}");
    assert!(
        shown.contains("everything arrived exactly once, labelled right"),
        "{shown}"
    );
}

#[tokio::test]
async fn everything_arrives() {
    demo(&[]).await;
}

#[tokio::test]
async fn everything_arrives_over_https_while_an_exporter_is_killed() {
    demo(&["--https", "--kill-exporter", "--scrapes=8"]).await;
}
