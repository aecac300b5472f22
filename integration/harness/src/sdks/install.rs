//! Installs what a test needs below the build folder, once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;

/// A folder of `integration/sdks` that something has to be installed for.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    /// What has to be there, for who has to install it.
    pub(super) needs: &'static str,
}

// === impl Recipe ===

impl Recipe {
    /// The folder with all that is needed. It is named after the recipe's contents,
    /// so that a change installs anew.
    ///
    /// # Errors
    /// Where something cannot be installed, with what that needs.
    pub(super) async fn install(
        &self,
        install: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks");
        let sources = sources.join(self.name);
        let mut files: Vec<_> = fs::read_dir(&sources)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let mut hasher = Sha256::new();
        for file in &files {
            hasher.update(fs::read(file)?);
        }
        let hash = hex::encode(&hasher.finalize()[..8]);
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sdks");
        fs::create_dir_all(&all)?;
        let folder = all.canonicalize()?.join(format!("{}-{hash}", self.name));
        if folder.is_dir() {
            return Ok(folder);
        }
        // Others may do the same at the same time: install aside, then move.
        let aside = tempfile::tempdir_in(&all)?;
        for file in &files {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(file, aside.path().join(name))?;
        }
        let installed = install(&aside.path().canonicalize()?).await;
        installed.with_context(|| format!("this needs {}", self.needs))?;
        let moved = fs::rename(aside.path(), &folder);
        ensure!(
            moved.is_ok() || folder.is_dir(),
            "{}: {moved:?}",
            folder.display()
        );
        Ok(folder)
    }
}

/// Installs packages of PyPI with a pip of the folder's own.
pub(super) async fn pip(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    run(folder, "python3", &["-m", "venv", "venv"]).await?;
    let python = folder.join("venv/bin/python");
    let install = ["-m", "pip", "install", "--quiet"];
    let arguments = [&install[..], arguments].concat();
    run(folder, &python.to_string_lossy(), &arguments).await
}

/// Runs a program to its end.
pub(super) async fn run(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let what = arguments.join(" ");
    ensure!(output.status.success(), "{program} {what}: {said}");
    Ok(())
}
