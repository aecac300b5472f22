//! Sets `PROMESH_VERSION`: the version, and the commit of a release build.
//!
//! The commit comes from the environment variable `PROMESH_COMMIT` (builds without a
//! repository) or from git. Debug builds do not name it, so that a commit does not
//! rebuild every crate above this one.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=PROMESH_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let build = if is_release {
        format!(
            "commit {}",
            commit().unwrap_or_else(|| "unknown".to_owned())
        )
    } else {
        "debug build".to_owned()
    };
    println!("cargo::rustc-env=PROMESH_VERSION={version} ({build})");
}

fn commit() -> Option<String> {
    if let Some(commit) = env::var("PROMESH_COMMIT").ok().filter(|c| !c.is_empty()) {
        return Some(commit);
    }
    // Git appends to this log with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
