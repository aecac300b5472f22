//! State that the scrape loops share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mesh_base::{budget::Budget, clock::Clock};
use mesh_contract::batch::BatchContext;
use mesh_model::config::scrape::ScrapeConfig;
use mesh_net::connector::Connector;
use mesh_net::http_client::{HttpClient, HttpClientError};
use mesh_outbox::Outbox;
use tokio::sync::{Notify, Semaphore};

use super::{
    bounds::TextLimits,
    client::{BodyLimit, Fetch, HttpFetcher, UnixSocketClients},
    endings::Endings,
    failure::ScrapeError,
    failure_log::{FailureLog, FailureLogError},
    metrics::ScrapeMetrics,
    options::Options,
};
use crate::{exposition::negotiate::accept_header, ownership::Ownership};

/// State that all scrape loops of the process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Wall clock.
    pub clock: Clock,
    /// Outbox that receives the batches.
    pub outbox: Outbox,
    /// Grants the targets that this receiver may scrape.
    pub ownership: Arc<dyn Ownership>,
    /// Series of targets that have left discovery.
    pub endings: Endings,
    /// Memory budget of all running scrapes.
    pub budget: Budget,
    /// Memory budget of the series of all targets.
    pub series_budget: Budget,
    /// Maximum memory of the series of one target in bytes.
    pub max_series_bytes: usize,
    /// Maximum lengths of the texts of a body.
    pub texts: TextLimits,
    /// Limits the number of concurrent scrapes.
    pub concurrency: Arc<Semaphore>,
    /// Metrics of scraping.
    pub metrics: ScrapeMetrics,
    /// Limit of a decompressed body in bytes, for all jobs. The body has to be smaller.
    pub max_body_bytes: u64,
    /// Requests bodies compressed with zstd if true.
    pub zstd: bool,
    /// Reads `_created` samples as start timestamps instead of series if true.
    pub start_timestamps: bool,
    /// Opens connections to targets; `None` for TCP.
    pub connector: Option<Connector>,
    /// Notified when a target refuses the credentials of a scrape.
    pub unauthorized: Arc<Notify>,
}

/// Settings that all scrape loops of a job share.
///
/// A reload replaces the whole value.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) config: ScrapeConfig,
    pub(crate) options: Options,
    pub(crate) fetcher: Arc<dyn Fetch>,
    client: HttpClient,
    sockets: UnixSocketClients,
    pub(crate) failure_log: Option<FailureLog>,
    pub(crate) context: Arc<BatchContext>,
    /// Number of targets if it exceeds `target_limit`, else 0.
    excess_targets: AtomicU64,
}

/// Error in the settings of a job.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Invalid HTTP client settings.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// Unusable failure log.
    #[error(transparent)]
    FailureLog(#[from] FailureLogError),
}

/// Maximum size of one batch in bytes (4 MiB). A larger scrape is split.
pub(crate) const MAX_BATCH_BYTES: usize = 4 << 20;

// === impl Job ===

impl Job {
    /// Returns true if a job with these settings would be the same. A failure log is always
    /// opened again, since it may have been rotated.
    pub(crate) fn is_unchanged(&self, config: &ScrapeConfig, context: &BatchContext) -> bool {
        self.failure_log.is_none() && *self.context == *context && self.config == *config
    }

    /// Creates the job of a scrape configuration. It reuses the connections of `previous` if
    /// the HTTP settings are the same.
    ///
    /// # Errors
    /// Returns an error if a certificate, a key or the failure log is unusable.
    pub(crate) fn new(
        config: ScrapeConfig,
        context: Arc<BatchContext>,
        shared: &Shared,
        previous: Option<&Self>,
    ) -> Result<Self, PrepareError> {
        let (client, sockets) = match previous {
            Some(previous) if previous.config.http == config.http => {
                (previous.client.clone(), previous.sockets.clone())
            }
            _ => (
                HttpClient::with_connector(
                    format!("job {:?}", config.job_name),
                    &config.http,
                    shared.connector.clone(),
                )?,
                UnixSocketClients::default(),
            ),
        };
        let failure_log = config.scrape_failure_log_file.as_deref();
        let failure_log = failure_log.map(FailureLog::open).transpose()?;
        let own = Some(config.body_size_limit).filter(|limit| *limit > 0);
        let limit = match own {
            Some(bytes) if bytes <= shared.max_body_bytes => BodyLimit {
                bytes,
                setting: "body_size_limit",
            },
            _ => BodyLimit {
                bytes: shared.max_body_bytes,
                setting: "--scrape.max-body-bytes",
            },
        };
        let escaping = config.metric_name_escaping_scheme;
        Ok(Self {
            options: Options::new(&config, shared.start_timestamps),
            fetcher: Arc::new(HttpFetcher {
                client: client.clone(),
                sockets: sockets.clone(),
                accept: accept_header(&config.scrape_protocols, escaping),
                compression: config.enable_compression,
                zstd: shared.zstd,
                limit,
            }),
            client,
            sockets,
            failure_log,
            config,
            context,
            excess_targets: AtomicU64::new(0),
        })
    }

    /// Returns the name of the replica group, which determines the offset of each target.
    pub(crate) fn replica_group(&self) -> &str {
        self.context.ha.as_ref().map_or("", |ha| &ha.replica)
    }

    /// Sets the number of targets of the job.
    pub(crate) fn set_target_count(&self, targets: usize) {
        let limit = self.config.target_limit;
        let targets = targets as u64;
        let excess = if limit > 0 && targets > limit {
            targets
        } else {
            0
        };
        self.excess_targets.store(excess, Ordering::Relaxed);
    }

    /// Checks `target_limit`. If it is exceeded, all scrapes of the job fail.
    ///
    /// # Errors
    /// Returns an error if the job has too many targets.
    pub(crate) fn check_target_limit(&self) -> Result<(), ScrapeError> {
        match self.excess_targets.load(Ordering::Relaxed) {
            0 => Ok(()),
            targets => Err(ScrapeError::Targets {
                targets,
                limit: self.config.target_limit,
            }),
        }
    }
}
