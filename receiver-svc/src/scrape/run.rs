//! One scrape of one target, from the request to encoded batches.

use std::sync::Arc;

use mesh::blocking::{self, BLOCKING_BYTES};
use tokio::time::Instant;
use tracing::debug;

use super::{
    append::{Counts, Scrape},
    cache::Cache,
    client::{Fetched, Place},
    failure::{Reason, ScrapeError},
    job::{Job, MAX_BATCH_BYTES, Shared},
    report::{self, Report},
    status::LastScrape,
    storage::InOrder,
    target::Target,
};
use crate::otlp::{self, Encoded, Resource};

/// One scrape.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    target: Arc<Target>,
    job: Arc<Job>,
    shared: Shared,
    time_ms: i64,
    started: Instant,
}

/// What a scrape led to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) cache: Cache,
    /// Bytes of the body, where there was one.
    pub(crate) body_bytes: Option<usize>,
    pub(crate) parts: Vec<Encoded>,
    pub(crate) last: LastScrape,
}

/// Memory for a body and what is made of it, as multiples of the body.
const MEMORY_FACTOR: usize = 2;

/// Makes batches of what a target answered.
pub(crate) async fn work(
    run: Run,
    fetched: Result<Fetched, ScrapeError>,
    cache: Cache,
    resource: Resource,
) -> Done {
    let large = matches!(&fetched, Ok(fetched) if fetched.body.len() >= BLOCKING_BYTES);
    if !large {
        return run.process(fetched, cache, &resource);
    }
    blocking::run(move || run.process(fetched, cache, &resource)).await
}

// === impl Run ===

impl Run {
    pub(crate) fn new(target: &Arc<Target>, job: &Arc<Job>, shared: &Shared, time_ms: i64) -> Self {
        Self {
            target: target.clone(),
            job: job.clone(),
            shared: shared.clone(),
            time_ms,
            started: Instant::now(),
        }
    }

    /// Asks the target. `expected` is how many bytes it sent the last time.
    pub(crate) async fn fetch(&self, expected: usize) -> Result<Fetched, ScrapeError> {
        self.job.check_targets()?;
        let at = Place {
            url: &self.target.url,
            unix_socket: self.target.unix_socket.as_deref(),
        };
        let (ask, timeout) = (&self.job.ask, self.target.timeout);
        let mut fetched = ask.get(at, timeout, expected, &self.shared.budget).await?;
        fetched.reserve(MEMORY_FACTOR)?;
        Ok(fetched)
    }

    /// Appends staleness markers for all series of a target that is gone.
    pub(crate) fn end_series(&self, cache: &mut Cache, resource: &Resource) -> Vec<Encoded> {
        let options = &self.job.options;
        let mut scrape = self.begin(cache);
        scrape.append_nothing();
        report::append_stale(&mut scrape, options.extra_scrape_metrics);
        otlp::encode(&scrape.commit(), resource, MAX_BATCH_BYTES)
    }

    fn begin<'a>(&'a self, cache: &'a mut Cache) -> Scrape<'a, InOrder> {
        let storage = InOrder::at(self.shared.clock.now_ms());
        let (options, labels) = (&self.job.options, &self.target.public);
        Scrape::begin(cache, options, labels, storage, self.time_ms)
    }

    fn process(
        &self,
        fetched: Result<Fetched, ScrapeError>,
        mut cache: Cache,
        resource: &Resource,
    ) -> Done {
        let options = self.job.options.clone();
        let mut scrape = self.begin(&mut cache);
        let (outcome, body_bytes) = append(&mut scrape, fetched);
        let counts = scrape.counts();
        let seconds = self.started.elapsed().as_secs_f64();
        let report = Report {
            up: outcome.is_ok(),
            duration_seconds: seconds,
            counts,
            timeout_seconds: self.target.timeout.as_secs_f64(),
            sample_limit: options.sample_limit,
            body_bytes: match &outcome {
                Err(error) if error.reason() == Reason::BodySizeLimit => -1,
                _ => body_bytes.unwrap_or_default() as i64,
            },
        };
        report::append(&mut scrape, &report, options.extra_scrape_metrics);
        let parts = otlp::encode(&scrape.commit(), resource, MAX_BATCH_BYTES);
        let failure = outcome.err();
        self.count(&counts, seconds, failure.as_ref());
        Done {
            cache,
            body_bytes,
            parts,
            last: LastScrape {
                time_ms: self.time_ms,
                seconds,
                samples: counts.scraped,
                failure: failure.map(|error| (error.reason(), error.to_string())),
            },
        }
    }

    fn count(&self, counts: &Counts, seconds: f64, failure: Option<&ScrapeError>) {
        let metrics = &self.shared.metrics;
        metrics.scrapes.inc();
        metrics.seconds.observe(seconds);
        metrics.refused(counts);
        metrics.budget_taken.set(self.shared.budget.taken() as i64);
        metrics.budget_peak.set(self.shared.budget.peak() as i64);
        if let Some(error) = failure {
            metrics.failed(error.reason());
            if let Some(log) = &self.job.failure_log {
                log.append(&self.job.config.job_name, &self.target.url, error);
            }
            debug!(target = self.target.url, %error, "Scrape failed");
        }
    }
}

/// Appends what a target answered, and where that fails markers for the series it
/// had. Returns the size of the body too, where there was one.
fn append(
    scrape: &mut Scrape<'_, InOrder>,
    fetched: Result<Fetched, ScrapeError>,
) -> (Result<(), ScrapeError>, Option<usize>) {
    match fetched {
        Ok(fetched) => {
            let appended = scrape.append(fetched.content_type.as_deref(), &fetched.body);
            if appended.is_err() {
                scrape.append_nothing();
            }
            (
                appended.map_err(ScrapeError::from),
                Some(fetched.body.len()),
            )
        }
        Err(error) => {
            scrape.append_nothing();
            (Err(error), None)
        }
    }
}
