//! Samples that one scrape appended.

use mesh_model::labels::METRIC_NAME;

use super::{
    families::Families,
    sample::{Metadata, Sample, SampleValue},
    series::SeriesTable,
};
use crate::exposition::{Exemplar, MetricType};

/// Samples of one scrape, in the order in which they were appended.
#[derive(Debug)]
pub struct AppendedSamples<'a> {
    pub(crate) series: &'a SeriesTable,
    families: &'a Families,
    /// Time of the scrape, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub(crate) samples: Vec<Sample>,
    pub(crate) exemplars: Vec<Exemplar>,
}

/// Read-only view of one sample with its series and metadata.
#[derive(Clone, Copy, Debug)]
pub struct SampleView<'a> {
    series: &'a SeriesTable,
    families: &'a Families,
    sample: &'a Sample,
    /// Exemplars of the sample, oldest first.
    pub exemplars: &'a [Exemplar],
}

// === impl AppendedSamples ===

impl<'a> AppendedSamples<'a> {
    pub(crate) fn new(
        series: &'a SeriesTable,
        families: &'a Families,
        time_ms: i64,
        samples: Vec<Sample>,
        exemplars: Vec<Exemplar>,
    ) -> Self {
        Self {
            series,
            families,
            time_ms,
            samples,
            exemplars,
        }
    }

    /// Returns the samples in the order in which they were appended.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = SampleView<'_>> {
        self.samples.iter().map(|sample| SampleView {
            series: self.series,
            families: self.families,
            sample,
            exemplars: self.exemplars_of(sample),
        })
    }

    pub(crate) fn exemplars_of(&self, sample: &Sample) -> &[Exemplar] {
        &self.exemplars[sample.exemplars.clone()]
    }

    /// Returns the metadata of a family.
    pub(crate) fn metadata(&self, family: Option<u32>) -> Option<&Metadata> {
        Some(&self.families.get(family?).metadata)
    }

    /// Returns the metric type of a sample's family.
    pub(crate) fn metric_type(&self, sample: &Sample) -> Option<MetricType> {
        Some(self.metadata(sample.family)?.metric_type)
    }
}

// === impl SampleView ===

impl<'a> SampleView<'a> {
    /// Returns all labels, including the name, sorted by name.
    pub fn labels(&self) -> Vec<(&'a str, &'a str)> {
        let series = self.series;
        let name = (METRIC_NAME, series.name_of(self.sample.series));
        let others = series.attributes_of(self.sample.series).decode();
        let mut labels: Vec<_> = others.chain([name]).collect();
        labels.sort_unstable();
        labels
    }

    /// Returns the timestamp, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> i64 {
        self.sample.time_ms
    }

    /// Returns the start timestamp of the series, in milliseconds since the Unix epoch.
    pub fn start_ms(&self) -> Option<i64> {
        self.sample.start_ms
    }

    /// Returns the value.
    pub fn value(&self) -> &'a SampleValue {
        &self.sample.value
    }

    /// Returns the metadata of the sample's family.
    pub fn metadata(&self) -> Option<&'a Metadata> {
        let family = self.sample.family?;
        Some(&self.families.get(family).metadata)
    }
}
