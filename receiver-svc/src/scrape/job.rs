//! What all loops of a job share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mesh::{
    balance::Connector,
    batch::Facts,
    budget::Budget,
    clock::Clock,
    config::scrape::ScrapeConfig,
    http_client::{HttpClient, HttpClientError},
    outbox::Outbox,
};
use tokio::sync::Semaphore;

use super::{
    client::{Ask, BodyLimit, Requests, Sockets},
    failure::ScrapeError,
    failure_log::{FailureLog, FailureLogError},
    metrics::ScrapeMetrics,
    options::Options,
};
use crate::{exposition::negotiate::accept_header, handover::Handover};

/// What all loops of the process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What time it is.
    pub clock: Clock,
    /// Where batches go.
    pub outbox: Outbox,
    /// Who takes targets over from others, and the others from here.
    pub handover: Handover,
    /// The memory of running scrapes.
    pub budget: Budget,
    /// How many scrapes may run.
    pub running: Arc<Semaphore>,
    /// What is counted.
    pub metrics: ScrapeMetrics,
    /// Bytes that a body may not reach, whatever its job allows.
    pub max_body_bytes: u64,
    /// `_created` samples are start times rather than series.
    pub start_timestamps: bool,
    /// How targets are reached; by TCP where nothing is given.
    pub connector: Option<Connector>,
}

/// What all loops of a job share. It does not change: a reload makes a new one.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) config: ScrapeConfig,
    pub(crate) options: Options,
    pub(crate) ask: Arc<dyn Ask>,
    client: HttpClient,
    sockets: Sockets,
    pub(crate) failure_log: Option<FailureLog>,
    pub(crate) facts: Arc<Facts>,
    /// How many targets the job has where those are too many, and else 0.
    excess_targets: AtomicU64,
}

/// Why a job cannot be scraped.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// Its HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// Its failures cannot be logged.
    #[error(transparent)]
    FailureLog(#[from] FailureLogError),
}

/// Bytes of an encoded scrape that make a request of their own.
pub(crate) const MAX_BATCH_BYTES: usize = 4 << 20;

// === impl Job ===

impl Job {
    /// The job of a scrape configuration; it goes on with the connections of
    /// `before` where it has the same HTTP settings.
    ///
    /// # Errors
    /// Where a certificate, a key or the log of failures cannot be used.
    pub(crate) fn new(
        config: ScrapeConfig,
        facts: Arc<Facts>,
        shared: &Shared,
        before: Option<&Self>,
    ) -> Result<Self, Unprepared> {
        let (client, sockets) = match before {
            Some(before) if before.config.http == config.http => {
                (before.client.clone(), before.sockets.clone())
            }
            _ => (
                HttpClient::with_connector(&config.http, shared.connector.clone())?,
                Sockets::default(),
            ),
        };
        let failure_log = config.scrape_failure_log_file.as_deref();
        let failure_log = failure_log.map(FailureLog::open).transpose()?;
        let own = Some(config.body_size_limit).filter(|limit| *limit > 0);
        let limit = match own {
            Some(bytes) if bytes <= shared.max_body_bytes => BodyLimit {
                bytes,
                what: "body_size_limit",
            },
            _ => BodyLimit {
                bytes: shared.max_body_bytes,
                what: "--scrape.max-body-bytes",
            },
        };
        let escaping = config.metric_name_escaping_scheme;
        Ok(Self {
            options: Options::new(&config, shared.start_timestamps),
            ask: Arc::new(Requests {
                client: client.clone(),
                sockets: sockets.clone(),
                accept: accept_header(&config.scrape_protocols, escaping),
                compression: config.enable_compression,
                limit,
            }),
            client,
            sockets,
            failure_log,
            config,
            facts,
            excess_targets: AtomicU64::new(0),
        })
    }

    /// The replica group, for the phase of targets.
    pub(crate) fn group(&self) -> &str {
        self.facts.ha.as_ref().map_or("", |ha| &ha.replica)
    }

    /// Notes how many targets the job has.
    pub(crate) fn count_targets(&self, targets: usize) {
        let limit = self.config.target_limit;
        let targets = targets as u64;
        let excess = if limit > 0 && targets > limit {
            targets
        } else {
            0
        };
        self.excess_targets.store(excess, Ordering::Relaxed);
    }

    /// The failure of all scrapes of a job with too many targets.
    pub(crate) fn check_targets(&self) -> Result<(), ScrapeError> {
        match self.excess_targets.load(Ordering::Relaxed) {
            0 => Ok(()),
            targets => Err(ScrapeError::Targets {
                targets,
                limit: self.config.target_limit,
            }),
        }
    }
}
