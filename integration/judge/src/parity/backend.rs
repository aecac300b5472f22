//! Backend that promesh writes to: a second Prometheus server, or a Cortex.

use std::path::Path;

use super::setting::Setting;
use harness::{cortex_server::Cortex, prometheus::Prometheus};
use stand_ins::amp::{Amp, AmpOptions, Series};

/// A running backend.
#[derive(Debug)]
pub(super) enum Backend {
    Prometheus(Box<Prometheus>),
    /// A Cortex, behind the stand-in, which sets the tenant.
    Cortex(Box<(Cortex, Amp)>),
}

/// Flag that makes Cortex accept all names, as Prometheus does.
const ALL_NAMES: &str = "-name-validation-scheme=utf8";
/// Flag that makes Cortex store all buckets of a native histogram. AMP merges buckets
/// beyond 200, Prometheus does not.
const ALL_BUCKETS: &str = "-validation.max-native-histogram-buckets=0";

// === impl Backend ===

impl Backend {
    /// Starts the Cortex of the setting, or else Prometheus with this configuration and
    /// these flags.
    ///
    /// # Errors
    /// Returns an error if it does not start.
    pub(super) async fn start(
        setting: &Setting,
        config: &Path,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let Some(program) = &setting.cortex else {
            let server = Prometheus::start_with(&setting.prometheus, config, flags);
            return Ok(Self::Prometheus(Box::new(server.await?)));
        };
        let cortex = Cortex::start(program, &[ALL_NAMES, ALL_BUCKETS]).await?;
        let options = AmpOptions {
            keys: None,
            upstream: Some(cortex.upstream()?),
            ..AmpOptions::default()
        };
        let amp = Amp::start(options).await?;
        Ok(Self::Cortex(Box::new((cortex, amp))))
    }

    /// Remote-write URL.
    pub(super) fn remote_write_url(&self) -> String {
        match self {
            Self::Prometheus(prometheus) => prometheus.remote_write_url(),
            Self::Cortex(both) => both.1.remote_write_url(),
        }
    }

    /// All series with all their samples.
    ///
    /// # Errors
    /// Returns an error if the backend does not respond.
    pub(super) async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        match self {
            Self::Prometheus(prometheus) => prometheus.read_all().await,
            Self::Cortex(both) => both.0.read_all().await,
        }
    }
}
