//! Finds start timestamps in `_created` samples.
//!
//! OpenMetrics 1.0 exposes a start timestamp as a separate `_created` sample, usually
//! the last one of its metric. For each sample, Prometheus looks ahead to the next
//! `_created` sample and uses it if the labels match. That takes quadratic time for a
//! long family without `_created` samples. This code reads ahead once, up to the next
//! metadata line.

use std::collections::VecDeque;

use mesh_model::labels::{BUCKET, QUANTILE};
use xxhash_rust::xxh3::xxh3_64;

use super::sample::{Sample, SampleLabels, seconds_to_ms};
use crate::exposition::{MetricType, cursor::Cursor, label_block::Item, series_text};

/// `_created` samples between the current position and the next metadata line.
#[derive(Clone, Debug, Default)]
pub(super) struct CreatedTimestamps {
    /// Samples after the current position, in the order of the body.
    upcoming: VecDeque<CreatedSample>,
    /// Position at which the last read-ahead ended.
    end: usize,
    /// Match that was found last. It also applies to samples of its metric after the
    /// `_created` sample.
    last: Option<CreatedSample>,
    /// Reusable buffer for hashing a metric.
    buffer: Vec<u8>,
}

/// A `_created` sample.
#[derive(Clone, Copy, Debug)]
struct CreatedSample {
    /// Position of the end of its line.
    end: usize,
    /// Hash of the metric that it belongs to.
    metric: u64,
    /// Value in milliseconds since the Unix epoch.
    timestamp: i64,
}

// === impl CreatedTimestamps ===

impl CreatedTimestamps {
    /// Returns the start timestamp of `sample`, which ends at `cursor`.
    ///
    /// `family` is the length of the family's name in bytes.
    pub(super) fn start_of(
        &mut self,
        sample: &Sample<'_>,
        family: usize,
        metric_type: MetricType,
        cursor: &Cursor<'_>,
    ) -> Option<i64> {
        let name = sample.name.get(..family).unwrap_or(sample.name);
        let metric = self.metric(sample.raw, name, metric_type);
        if self.last.is_none_or(|last| last.metric != metric) {
            if cursor.at() > self.end {
                self.read_ahead(metric_type, cursor.clone());
            }
            while self
                .upcoming
                .front()
                .is_some_and(|next| next.end <= cursor.at())
            {
                self.upcoming.pop_front();
            }
            self.last = self
                .upcoming
                .front()
                .filter(|next| next.metric == metric)
                .copied();
        }
        self.last
            .map(|last| last.timestamp)
            .filter(|&timestamp| timestamp != 0)
    }

    fn read_ahead(&mut self, metric_type: MetricType, mut cursor: Cursor<'_>) {
        self.upcoming.clear();
        self.end = cursor.at();
        // Stops at an invalid line too. The parser reports it later.
        while cursor.peek().is_some_and(|byte| byte != b'#')
            && let Ok(sample) = Sample::read(&mut cursor, b"")
        {
            self.end = cursor.at();
            if let Some(name) = sample.name.strip_suffix(b"_created") {
                let metric = self.metric(sample.raw, name, metric_type);
                let timestamp = seconds_to_ms(sample.value);
                self.upcoming.push_back(CreatedSample {
                    end: self.end,
                    metric,
                    timestamp,
                });
            }
        }
    }

    /// Hashes the name and the labels of a metric. Leaves out `le` and `quantile`, which
    /// differ between the samples of one metric.
    fn metric(&mut self, raw: &[u8], name: &[u8], metric_type: MetricType) -> u64 {
        let excluded = match metric_type {
            MetricType::Histogram => Some(BUCKET.as_bytes()),
            MetricType::Summary => Some(QUANTILE.as_bytes()),
            _ => None,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(name);
        for item in series_text::items::<SampleLabels>(raw) {
            if let Item::Label(name, value) = item
                && Some(name) != excluded
            {
                for part in [name, value] {
                    self.buffer.push(0xff);
                    self.buffer.extend_from_slice(part);
                }
            }
        }
        xxh3_64(&self.buffer)
    }
}
