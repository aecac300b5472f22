//! Start timestamps from `_created` samples.
//!
//! OpenMetrics 1.0 gives them as samples of their own, anywhere among the
//! samples of the metric, usually last. Prometheus looks ahead from each sample
//! to the next `_created` one, and if that has the same labels, it is the start.
//! Looked up in this way a long family without any would cost quadratic time, so
//! here the samples up to the next metadata line are read ahead once.

use std::collections::VecDeque;

use mesh::labels::{BUCKET, QUANTILE};
use xxhash_rust::xxh3::xxh3_64;

use super::sample::{Labels, Sample, seconds_to_ms};
use crate::exposition::{MetricType, cursor::Cursor, label_block::Item, series_text};

/// The `_created` samples of the current run of samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Created {
    /// In the order of the body, the next one first.
    ahead: VecDeque<Start>,
    /// Where the run ends.
    end: usize,
    /// The start that was found last. It holds for its metric also behind the
    /// `_created` sample.
    last: Option<Start>,
    /// Reused to hash a metric.
    buffer: Vec<u8>,
}

/// A `_created` sample.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Where its line ends.
    at: usize,
    /// Hash of the metric it belongs to.
    metric: u64,
    /// Its value in milliseconds.
    timestamp: i64,
}

// === impl Created ===

impl Created {
    /// When `sample`, which ends at `cursor`, started to count; its family's
    /// name is `family` bytes long.
    pub(super) fn of(
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
                .ahead
                .front()
                .is_some_and(|next| next.at <= cursor.at())
            {
                self.ahead.pop_front();
            }
            self.last = self
                .ahead
                .front()
                .filter(|next| next.metric == metric)
                .copied();
        }
        self.last
            .map(|last| last.timestamp)
            .filter(|&timestamp| timestamp != 0)
    }

    fn read_ahead(&mut self, metric_type: MetricType, mut cursor: Cursor<'_>) {
        self.ahead.clear();
        self.end = cursor.at();
        // A line that is not good ends it too: the parse will stop there.
        while cursor.peek().is_some_and(|byte| byte != b'#')
            && let Ok(sample) = Sample::read(&mut cursor)
        {
            self.end = cursor.at();
            if let Some(name) = sample.name.strip_suffix(b"_created") {
                let metric = self.metric(sample.raw, name, metric_type);
                let timestamp = seconds_to_ms(sample.value);
                self.ahead.push_back(Start {
                    at: self.end,
                    metric,
                    timestamp,
                });
            }
        }
    }

    /// Tells metrics apart: the labels without those that tell apart the samples
    /// of one metric.
    fn metric(&mut self, raw: &[u8], name: &[u8], metric_type: MetricType) -> u64 {
        let within = match metric_type {
            MetricType::Histogram => Some(BUCKET.as_bytes()),
            MetricType::Summary => Some(QUANTILE.as_bytes()),
            _ => None,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(name);
        for item in series_text::items::<Labels>(raw) {
            if let Item::Label(name, value) = item
                && Some(name) != within
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
