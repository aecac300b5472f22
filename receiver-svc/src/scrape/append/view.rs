//! What a scrape appended.

use mesh::labels::METRIC_NAME;

use crate::{
    exposition::{Exemplar, MetricType},
    otlp::attributes,
    scrape::{
        cache::Cache,
        sample::{Metadata, Sample, SampleValue},
    },
};

/// The samples of one scrape, in order.
#[derive(Debug)]
pub struct Appended<'a> {
    pub(crate) cache: &'a Cache,
    /// When the scrape was, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub(crate) samples: Vec<Sample>,
    pub(crate) exemplars: Vec<Exemplar>,
}

/// One sample of a scrape, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct SampleView<'a> {
    cache: &'a Cache,
    sample: &'a Sample,
    /// Its exemplars, the oldest first.
    pub exemplars: &'a [Exemplar],
}

// === impl Appended ===

impl<'a> Appended<'a> {
    pub(super) fn new(
        cache: &'a Cache,
        time_ms: i64,
        samples: Vec<Sample>,
        exemplars: Vec<Exemplar>,
    ) -> Self {
        Self {
            cache,
            time_ms,
            samples,
            exemplars,
        }
    }

    /// The samples, in the order in which they were appended.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = SampleView<'_>> {
        self.samples.iter().map(|sample| SampleView {
            cache: self.cache,
            sample,
            exemplars: self.exemplars_of(sample),
        })
    }

    pub(crate) fn exemplars_of(&self, sample: &Sample) -> &[Exemplar] {
        &self.exemplars[sample.exemplars.clone()]
    }

    /// What the target says of a family.
    pub(crate) fn metadata(&self, family: Option<u32>) -> Option<&Metadata> {
        Some(&self.cache.families.get(family?).metadata)
    }

    /// The type of a sample's family.
    pub(crate) fn metric_type(&self, sample: &Sample) -> Option<MetricType> {
        Some(self.metadata(sample.family)?.metric_type)
    }
}

// === impl SampleView ===

impl<'a> SampleView<'a> {
    /// The labels, sorted, the name among them.
    pub fn labels(&self) -> Vec<(&'a str, &'a str)> {
        let series = &self.cache.series;
        let name = (METRIC_NAME, series.name_of(self.sample.series));
        let others = attributes::decode(series.attributes_of(self.sample.series));
        let mut labels: Vec<_> = others.chain([name]).collect();
        labels.sort_unstable();
        labels
    }

    /// The time, in milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> i64 {
        self.sample.time_ms
    }

    /// When the series started to count, likewise.
    pub fn start_ms(&self) -> Option<i64> {
        self.sample.start_ms
    }

    /// The value.
    pub fn value(&self) -> &'a SampleValue {
        &self.sample.value
    }

    /// What the target says of its family.
    pub fn metadata(&self) -> Option<&'a Metadata> {
        let family = self.sample.family?;
        Some(&self.cache.families.get(family).metadata)
    }
}
