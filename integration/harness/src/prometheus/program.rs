//! Finds or downloads a Prometheus server.
//!
//! Version 3 is preferred: from `PATH`, or unpacked from the package of a newer Debian suite
//! into the build folder, which needs no root. Otherwise an older version is used.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
};

use anyhow::{Context, bail};
use tokio::process::Command;

/// Debian suites, the preferred one first.
const SUITES: [&str; 3] = ["sid", "forky", "trixie"];
/// URL of the Debian packages.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Keys that sign the Debian packages.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MISSING: &str = "this needs a Prometheus server: install Debian's package `prometheus`, \
     or let `apt-get download prometheus` work";

/// An installed server.
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the executable.
    pub path: PathBuf,
    /// Version of the server.
    pub version: Version,
}

/// A server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version: 3 of 3.5.
    pub major: u32,
    /// Minor version: 5 of 3.5.
    pub minor: u32,
}

// === impl Program ===

impl Program {
    /// Finds the newest server that this machine has or can download.
    ///
    /// # Errors
    /// Returns an error that says what to install if there is none.
    pub async fn find() -> anyhow::Result<Self> {
        let wanted = Version { major: 3, minor: 0 };
        let installed = Self::installed().await;
        if let Some(program) = installed.as_ref().filter(|p| p.version >= wanted) {
            return Ok(program.clone());
        }
        for suite in SUITES {
            match Self::unpacked(Some(suite)).await {
                Ok(program) if program.version >= wanted => return Ok(program),
                Ok(program) => tracing::debug!(suite, %program.version, "Prometheus too old"),
                Err(error) => tracing::debug!(suite, %error, "Prometheus not unpacked"),
            }
        }
        match installed {
            Some(program) => Ok(program),
            None => Self::unpacked(None).await.context(MISSING),
        }
    }

    /// Returns the server at a path.
    ///
    /// # Errors
    /// Returns an error if the program does not run or prints no version.
    pub async fn at(path: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(path);
        let output = command.arg("--version").output().await;
        let output = output.with_context(|| path.display().to_string())?;
        // Version 2 may print its version to standard error.
        let output = [output.stdout, output.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        let version = output.parse().with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            version,
        })
    }

    async fn installed() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
        let path = paths.into_iter().find(|program| program.is_file())?;
        Self::at(&path).await.ok()
    }

    /// Unpacks the package of a suite below the build folder, unless it is there already.
    /// `None` selects the suite of this system.
    async fn unpacked(suite: Option<&str>) -> anyhow::Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let folder = workspace
            .context("the workspace has no folder")?
            .join("target/prometheus");
        let folder = folder.join(suite.unwrap_or("system"));
        let path = folder.join("usr/bin/prometheus");
        if !path.is_file() {
            // Another process may do the same: unpack to a temporary folder, then rename.
            fs::create_dir_all(&folder)?;
            let temporary = tempfile::tempdir_in(&folder)?;
            unpack(temporary.path(), suite).await?;
            let unpacked = temporary.path().join("unpacked/usr");
            if fs::rename(unpacked, folder.join("usr")).is_err() && !path.is_file() {
                bail!(
                    "the unpacked package cannot be renamed to {}",
                    folder.display()
                );
            }
        }
        Self::at(&path).await
    }
}

async fn unpack(folder: &Path, suite: Option<&str>) -> anyhow::Result<()> {
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
    let download = ["download".into(), "prometheus".into()];
    run(folder, "apt-get", &[&options[..], &download].concat()).await?;
    let package = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .context("apt-get download prometheus has created no .deb file")?;
    let package = package.to_string_lossy().into_owned();
    run(folder, "dpkg", &["-x".into(), package, "unpacked".into()]).await
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

// === impl Version ===

impl FromStr for Version {
    type Err = anyhow::Error;

    /// Parses the output of `prometheus --version`.
    fn from_str(output: &str) -> anyhow::Result<Self> {
        let number = output.split("version ").nth(1).context("no version")?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let mut part = || parts.next().and_then(|part| part.parse().ok());
        let (major, minor) = part().zip(part()).context("no version")?;
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_orders_versions() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let debian = version("prometheus, version 3.5.3+ds1 (branch: debian/sid)");
        assert_eq!(debian.to_string(), "3.5");
        assert!(debian > version("prometheus, version 2.42.0+ds, Go 1.19"));
        assert!("no such option".parse::<Version>().is_err());
    }
}
