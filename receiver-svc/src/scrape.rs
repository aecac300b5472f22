//! Scrapes targets: from an HTTP response to batches in the outbox.
//!
//! A [`Manager`] has one scrape pool per job. A pool runs one scrape loop for each
//! target that this receiver owns. The loop requests the metrics of its target once per
//! slot of its [`Schedule`], encodes them, and pushes the batches to the outbox.
//!
//! ```text
//! body ─▶ parser ─▶ cache ─▶ labels, limits ─▶ storage rules ─▶ samples
//!                     ▲ a cached series needs one lookup and no labels
//! ```

mod append;
mod bounds;
mod cache;
mod client;
mod endings;
mod failure;
mod failure_log;
mod family;
mod histogram;
mod job;
mod labels;
mod limits;
mod manager;
mod metrics;
mod options;
mod pool;
mod report;
mod run;
mod schedule;
mod scrape_loop;
mod status;
mod storage;
mod target;
mod target_health;

pub use self::{
    append::{AppendError, Counts, Scrape},
    bounds::{BoundError, TextLimits},
    cache::Cache,
    endings::Endings,
    failure::{FailureReason, ScrapeError},
    failure_log::FailureLogError,
    histogram::HistogramError,
    job::{PrepareError, Shared},
    labels::LabelsError,
    limits::{LabelLimits, LimitError, max_schema},
    manager::{JobError, Manager, Prepared},
    metrics::ScrapeMetrics,
    options::Options,
    schedule::Schedule,
    status::{DroppedTarget, Health, JobStatus, LastScrape, Status, TargetStatus},
    storage::{Accepted, InOrder, Rejection, Storage},
    target::{Populated, Target, TargetError, labels_before_relabeling, populate},
    target_health::TargetHealth,
};
pub use crate::samples::{AppendedSamples, Metadata, STALE_NAN, SampleValue, SampleView};

#[cfg(test)]
mod tests;
