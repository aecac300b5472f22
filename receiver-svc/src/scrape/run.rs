//! One scrape of one target, from the HTTP request to encoded batches.

use std::sync::Arc;

use http::StatusCode;
use mesh_base::blocking::{self, BLOCKING_BYTES};
use tokio::time::Instant;
use tracing::debug;

use super::{
    append::{Counts, Scrape},
    bounds::Bounds,
    cache::Cache,
    client::{FetchedBody, TargetAddress},
    endings::Ending,
    failure::{FailureReason, ScrapeError},
    job::{Job, MAX_BATCH_BYTES, Shared},
    report::{self, Report},
    status::LastScrape,
    storage::InOrder,
    target::Target,
};
use crate::otlp::{self, Encoded, Resource};

/// One scrape of one target.
#[derive(Clone, Debug)]
pub(crate) struct ScrapeRun {
    target: Arc<Target>,
    job: Arc<Job>,
    shared: Shared,
    time_ms: i64,
    started: Instant,
}

/// Maximum length of the message of a failure that a page shows, in bytes.
const MAX_MESSAGE: usize = 4 << 10;

/// Result of one scrape.
#[derive(Debug)]
pub(crate) struct ScrapeResult {
    pub(crate) cache: Cache,
    /// Size of the body in bytes; `None` if the request failed.
    pub(crate) body_bytes: Option<usize>,
    pub(crate) parts: Vec<Encoded>,
    pub(crate) last: LastScrape,
}

/// Memory for a body and its samples, as a multiple of the body.
const MEMORY_FACTOR: usize = 2;

/// Turns a fetched body into batches.
///
/// `twins` watches the series of the target, if another target may have newer samples of them.
/// A large body is processed on a blocking thread.
pub(crate) async fn process(
    run: ScrapeRun,
    fetched: Result<FetchedBody, ScrapeError>,
    cache: Cache,
    resource: Resource,
    twins: Option<Ending>,
) -> ScrapeResult {
    let large = matches!(&fetched, Ok(fetched) if fetched.body.len() >= BLOCKING_BYTES);
    if !large {
        return run.process(fetched, cache, &resource, twins.as_ref());
    }
    blocking::run(move || run.process(fetched, cache, &resource, twins.as_ref())).await
}

// === impl ScrapeRun ===

impl ScrapeRun {
    pub(crate) fn new(target: &Arc<Target>, job: &Arc<Job>, shared: &Shared, time_ms: i64) -> Self {
        Self {
            target: target.clone(),
            job: job.clone(),
            shared: shared.clone(),
            time_ms,
            started: Instant::now(),
        }
    }

    /// Requests the metrics. `expected` is the size of the previous body in bytes.
    ///
    /// # Errors
    /// Returns an error if the request fails or a limit is exceeded.
    pub(crate) async fn fetch(&self, expected: usize) -> Result<FetchedBody, ScrapeError> {
        self.job.check_target_limit()?;
        let address = TargetAddress {
            url: &self.target.url,
            unix_socket: self.target.unix_socket.as_deref(),
        };
        let (fetcher, timeout) = (&self.job.fetcher, self.target.timeout);
        let mut fetched = fetcher
            .fetch(address, timeout, expected, &self.shared.budget)
            .await?;
        fetched.reserve(MEMORY_FACTOR)?;
        Ok(fetched)
    }

    /// Appends staleness markers for the series of a removed target that no other target
    /// continues.
    pub(crate) fn end_series(
        &self,
        cache: &mut Cache,
        resource: &Resource,
        ending: &Ending,
    ) -> Vec<Encoded> {
        let options = &self.job.options;
        let mut scrape = self.begin(cache);
        scrape.append_nothing();
        report::append_stale(&mut scrape, options.extra_scrape_metrics);
        scrape.discard_markers(|series, last_ms| ending.has_sample_after(last_ms, series));
        otlp::encode(&scrape.commit(), resource, MAX_BATCH_BYTES)
    }

    fn begin<'a>(&'a self, cache: &'a mut Cache) -> Scrape<'a, InOrder> {
        let storage = InOrder::at(self.shared.clock.now_ms());
        let (options, labels) = (&self.job.options, &self.target.public);
        Scrape::begin(cache, options, labels, storage, self.time_ms)
    }

    fn process(
        &self,
        fetched: Result<FetchedBody, ScrapeError>,
        mut cache: Cache,
        resource: &Resource,
        twins: Option<&Ending>,
    ) -> ScrapeResult {
        let options = self.job.options.clone();
        let mut scrape = self.begin(&mut cache);
        let (outcome, body_bytes) = self.append(&mut scrape, fetched);
        let counts = scrape.counts();
        let seconds = self.started.elapsed().as_secs_f64();
        let report = Report {
            up: outcome.is_ok(),
            duration_seconds: seconds,
            counts,
            timeout_seconds: self.target.timeout.as_secs_f64(),
            sample_limit: options.sample_limit,
            body_bytes: match &outcome {
                Err(error) if error.reason() == FailureReason::BodySizeLimit => -1,
                _ => body_bytes.unwrap_or_default() as i64,
            },
        };
        report::append(&mut scrape, &report, options.extra_scrape_metrics);
        if let Some(twins) = twins {
            scrape.discard_markers(|series, _| twins.has_sample_after(self.time_ms, series));
        }
        let appended = scrape.commit();
        self.shared.endings.record(&appended);
        let parts = otlp::encode(&appended, resource, MAX_BATCH_BYTES);
        let failure = outcome.err();
        self.count(&counts, seconds, failure.as_ref());
        ScrapeResult {
            cache,
            body_bytes,
            parts,
            last: LastScrape {
                time_ms: self.time_ms,
                seconds,
                samples: counts.scraped,
                failure: failure.map(|error| (error.reason(), truncated(error.to_string()))),
            },
        }
    }

    /// Appends a fetched body, or staleness markers if the scrape failed.
    ///
    /// Also returns the size of the body, unless the request failed.
    fn append(
        &self,
        scrape: &mut Scrape<'_, InOrder>,
        fetched: Result<FetchedBody, ScrapeError>,
    ) -> (Result<(), ScrapeError>, Option<usize>) {
        let FetchedBody {
            content_type,
            body,
            mut reservation,
        } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                scrape.append_nothing();
                return (Err(error), None);
            }
        };
        let timeout = self.target.timeout;
        let bounds = Bounds {
            texts: self.shared.texts,
            deadline: Some((self.started + timeout, timeout)),
            memory: Some(&mut reservation),
            series: Some((&self.shared.series_budget, self.shared.max_series_bytes)),
        };
        let appended = scrape.append_within(content_type.as_deref(), &body, bounds);
        if appended.is_err() {
            scrape.append_nothing();
        }
        (appended.map_err(ScrapeError::from), Some(body.len()))
    }

    fn count(&self, counts: &Counts, seconds: f64, failure: Option<&ScrapeError>) {
        let metrics = &self.shared.metrics;
        metrics.scrapes.inc();
        metrics.seconds.observe(seconds);
        metrics.rejected(counts);
        metrics
            .budget_taken
            .set(self.shared.budget.reserved() as i64);
        metrics.budget_peak.set(self.shared.budget.peak() as i64);
        let series = self.shared.series_budget.reserved();
        metrics.series_taken.set(series as i64);
        if let Some(error) = failure {
            metrics.failed(error.reason());
            if matches!(error, ScrapeError::Status(StatusCode::UNAUTHORIZED)) {
                self.shared.unauthorized.notify_one();
            }
            if let Some(log) = &self.job.failure_log {
                log.append(&self.job.config.job_name, &self.target.url, error);
            }
            debug!(url = self.target.url, %error, "Scrape failed");
        }
    }
}

fn truncated(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}
