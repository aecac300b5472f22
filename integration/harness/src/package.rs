//! Programs from Debian packages, unpacked into the build folder. That needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use tokio::process::Command;

/// Debian suites, the preferred one first.
pub const SUITES: [&str; 3] = ["sid", "forky", "trixie"];
/// URL of the Debian packages.
const MIRROR: &str = "http://deb.debian.org/debian";
/// File with the version of an unpacked package.
const VERSION: &str = "version";
/// Keys that sign the Debian packages.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Path of a program on `PATH`.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = std::env::split_paths(&path).map(|folder| folder.join(program));
    paths.find(|program| program.is_file())
}

/// A program of an unpacked package.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Path of the program.
    pub path: PathBuf,
    /// Version of the package, such as `3.5.3+ds1-2`.
    pub version: String,
}

/// Unpacks the package of a suite below the build folder, unless it is there already, and
/// returns its program of the same name. `None` selects the suite of this system.
///
/// # Errors
/// Returns an error if the package cannot be downloaded or unpacked.
pub async fn unpacked(package: &str, suite: Option<&str>) -> anyhow::Result<Unpacked> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let folder = workspace.context("the workspace has no folder")?;
    let folder = folder.join("target").join(package);
    let folder = folder.join(suite.unwrap_or("system"));
    let path = folder.join("usr/bin").join(package);
    let version = || fs::read_to_string(folder.join(VERSION)).unwrap_or_default();
    if path.is_file() {
        return Ok(Unpacked {
            path,
            version: version(),
        });
    }
    // Another process may do the same: unpack to a temporary folder, then rename.
    fs::create_dir_all(&folder)?;
    let temporary = tempfile::tempdir_in(&folder)?;
    unpack(temporary.path(), package, suite).await?;
    let unpacked = temporary.path().join("unpacked/usr");
    fs::copy(temporary.path().join(VERSION), folder.join(VERSION))?;
    if fs::rename(unpacked, folder.join("usr")).is_err() && !path.is_file() {
        bail!(
            "the unpacked package cannot be renamed to {}",
            folder.display()
        );
    }
    Ok(Unpacked {
        path,
        version: version(),
    })
}

async fn unpack(folder: &Path, package: &str, suite: Option<&str>) -> anyhow::Result<()> {
    let mut options = Vec::new();
    if let Some(suite) = suite {
        options = private_apt(folder, suite)?;
        run(
            folder,
            "apt-get",
            &[&options[..], &["update".into()]].concat(),
        )
        .await?;
    }
    let download = ["download".into(), package.into()];
    run(folder, "apt-get", &[&options[..], &download].concat()).await?;
    let file = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .with_context(|| format!("apt-get download {package} has created no .deb file"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let version = name.split('_').nth(1).unwrap_or_default();
    fs::write(folder.join(VERSION), version)?;
    let file = file.to_string_lossy().into_owned();
    run(folder, "dpkg", &["-x".into(), file, "unpacked".into()]).await
}

/// Options of apt-get that make it use one suite and its own state, not that of the system.
fn private_apt(folder: &Path, suite: &str) -> anyhow::Result<Vec<String>> {
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let sources = format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n");
    fs::write(folder.join("sources.list"), sources)?;
    fs::write(folder.join("status"), "")?;
    let at = |part: &str| folder.join(part).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ];
    Ok(options
        .into_iter()
        .map(|option| format!("-o{option}"))
        .collect())
}

async fn run(folder: &Path, program: &str, arguments: &[String]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().await.with_context(|| program.to_owned())?;
    anyhow::ensure!(
        status.success(),
        "{program} {} ended with {status}",
        arguments.join(" ")
    );
    Ok(())
}
