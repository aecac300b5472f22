//! Scraping: from a target to samples.
//!
//! ```text
//! body ─▶ parser ─▶ cache ─▶ labels, limits ─▶ storage's verdict ─▶ samples
//!                     ▲ a series that was there before: a lookup, no labels
//! ```

pub(crate) mod append;
pub(crate) mod cache;
mod family;
pub(crate) mod histogram;
mod interner;
mod labels;
mod limits;
mod options;
pub(crate) mod resolution;
pub(crate) mod sample;
mod storage;

pub use self::{
    append::{AppendError, Appended, Counts, SampleView, Scrape},
    cache::Cache,
    histogram::HistogramError,
    labels::LabelsError,
    limits::{LabelLimits, LimitError, max_schema},
    options::Options,
    sample::{Metadata, STALE_NAN, SampleValue},
    storage::{Accepted, InOrder, Refusal, Storage},
};
