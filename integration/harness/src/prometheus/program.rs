//! Finds or downloads a Prometheus server.
//!
//! Version 3 is preferred: from `PATH`, or unpacked from the package of a newer Debian suite
//! into the build folder. Otherwise an older version is used.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;
use tokio::process::Command;

use crate::package::{self, SUITES};

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

    /// Returns the server on `PATH`, if there is one.
    pub async fn installed() -> Option<Self> {
        Self::at(&package::installed("prometheus")?).await.ok()
    }

    /// Unpacks the package of a suite. `None` selects the suite of this system.
    async fn unpacked(suite: Option<&str>) -> anyhow::Result<Self> {
        Self::at(&package::unpacked("prometheus", suite).await?.path).await
    }
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
