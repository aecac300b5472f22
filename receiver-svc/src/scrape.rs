//! Scraping: from a target to samples.
//!
//! A [`Manager`] has a pool of targets for each job and a loop for each target
//! that is this receiver's. A loop asks its target in every slot of its schedule,
//! makes a batch of the answer, and gives it to the outbox.
//!
//! ```text
//! body ─▶ parser ─▶ cache ─▶ labels, limits ─▶ storage's verdict ─▶ samples
//!                     ▲ a series that was there before: a lookup, no labels
//! ```

pub(crate) mod append;
pub(crate) mod cache;
mod client;
mod failure;
mod failure_log;
mod family;
pub(crate) mod histogram;
mod interner;
mod job;
mod labels;
mod limits;
mod manager;
mod metrics;
mod options;
mod pool;
mod report;
pub(crate) mod resolution;
mod run;
pub(crate) mod sample;
mod schedule;
mod scrape_loop;
mod status;
mod storage;
mod target;

pub use self::{
    append::{AppendError, Appended, Counts, SampleView, Scrape},
    cache::Cache,
    failure::{Reason, ScrapeError},
    failure_log::FailureLogError,
    histogram::HistogramError,
    job::{Shared, Unprepared},
    labels::LabelsError,
    limits::{LabelLimits, LimitError, max_schema},
    manager::{JobError, Manager, Prepared},
    metrics::ScrapeMetrics,
    options::Options,
    sample::{Metadata, STALE_NAN, SampleValue},
    schedule::Schedule,
    status::{Health, JobStatus, LastScrape, Status, TargetStatus},
    storage::{Accepted, InOrder, Refusal, Storage},
    target::{Populated, Target, TargetError, populate},
};

#[cfg(test)]
mod tests;
