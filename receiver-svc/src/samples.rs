//! Samples of one scrape, with the series and metric families they belong to.
//!
//! This is the data model between scraping and encoding: [`crate::scrape`] fills it,
//! [`crate::otlp`] reads it, and it depends on neither. Samples refer to series and
//! families by number, so that a series seen before costs no labels.

pub(crate) mod appended;
pub(crate) mod attributes;
pub(crate) mod families;
pub(crate) mod interner;
pub(crate) mod resolution;
pub(crate) mod sample;
pub(crate) mod series;

pub use self::{
    appended::{AppendedSamples, SampleView},
    sample::{Metadata, STALE_NAN, SampleValue},
};
pub(crate) use self::{
    families::Families,
    interner::Interner,
    sample::Sample,
    series::{Role, SeriesTable},
};
