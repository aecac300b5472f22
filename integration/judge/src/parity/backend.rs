//! What promesh writes to: a second Prometheus, or a Cortex.

use std::path::Path;

use super::Setting;
use stand_ins::amp::{Amp, AmpOptions, Series};
use harness::{cortex_server::Cortex, prometheus::Prometheus};

/// A running backend.
#[derive(Debug)]
pub(super) enum Backend {
    Prometheus(Box<Prometheus>),
    /// A Cortex, and before it the stand-in, which names the tenant.
    Cortex(Box<(Cortex, Amp)>),
}

/// Prometheus takes all names, Cortex only where it is told to.
const ALL_NAMES: &str = "-name-validation-scheme=utf8";
/// AMP coarsens native histograms of more than 200 buckets, Prometheus none.
const ALL_BUCKETS: &str = "-validation.max-native-histogram-buckets=0";

// === impl Backend ===

impl Backend {
    /// Starts the backend of this setting: a Prometheus with this configuration and
    /// these flags, unless it is a Cortex.
    ///
    /// # Errors
    /// Where it does not start.
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

    /// Where remote write is posted.
    pub(super) fn remote_write_url(&self) -> String {
        match self {
            Self::Prometheus(prometheus) => prometheus.remote_write_url(),
            Self::Cortex(both) => both.1.remote_write_url(),
        }
    }

    /// All series with all their samples.
    ///
    /// # Errors
    /// Where the backend does not answer.
    pub(super) async fn read_all(&self) -> anyhow::Result<Vec<Series>> {
        match self {
            Self::Prometheus(prometheus) => prometheus.read_all().await,
            Self::Cortex(both) => both.0.read_all().await,
        }
    }
}
