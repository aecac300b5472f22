//! Installs the dependencies of a test once, below the build folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use tokio::process::Command;

/// A folder of `sdks/` whose dependencies have to be installed.
pub(super) struct Recipe {
    /// Name of the folder.
    pub(super) name: &'static str,
    /// Requirements of the installation, for the error message.
    pub(super) needs: &'static str,
}

// === impl Recipe ===

impl Recipe {
    /// Returns the folder with the sources and their dependencies. Its name has a hash of the
    /// sources, so that a change leads to a new installation.
    ///
    /// # Errors
    /// Returns an error that names the requirements if the installation fails.
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
        // Another process may do the same: install to a temporary folder, then rename.
        let temporary = tempfile::tempdir_in(&all)?;
        for file in &files {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(file, temporary.path().join(name))?;
        }
        let installed = install(&temporary.path().canonicalize()?).await;
        installed.with_context(|| format!("this needs {}", self.needs))?;
        let renamed = fs::rename(temporary.path(), &folder);
        ensure!(
            renamed.is_ok() || folder.is_dir(),
            "{}: {renamed:?}",
            folder.display()
        );
        Ok(folder)
    }
}

/// Installs PyPI packages with a virtual environment of the folder.
pub(super) async fn pip(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    run(folder, "python3", &["-m", "venv", "venv"]).await?;
    let python = folder.join("venv/bin/python");
    let install = ["-m", "pip", "install", "--quiet"];
    let arguments = [&install[..], arguments].concat();
    run(folder, &python.to_string_lossy(), &arguments).await
}

/// Runs a program and waits until it has succeeded.
pub(super) async fn run(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.with_context(|| program.to_owned())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let arguments = arguments.join(" ");
    ensure!(output.status.success(), "{program} {arguments}: {stderr}");
    Ok(())
}
