//! Runs promtool if this machine has it.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Checks names and HELP of a page in text 0.0.4. Says so if there is no promtool.
pub(crate) fn check_metrics(service: &str, page: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: promtool is not installed, the metrics of {service} are not checked");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let messages = [output.stdout, output.stderr].concat();
    let messages = String::from_utf8_lossy(&messages);
    assert!(output.status.success(), "{service}: {messages}");
}
