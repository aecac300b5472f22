//! Body that every target of a load run exposes.
//!
//! The body is a template. Each value contains the number of the scrape and the code of its
//! series. So the ledger can assign a sample to its scrape, and check its value, without
//! the body.

use std::fmt::Write;

use mesh_model::labels::{Labels, METRIC_NAME};
use mesh_wire::protobuf::{bytes_len, put_bytes, put_header};

use stand_ins::validator::REPORTS;

/// Body and series of a target.
#[derive(Debug)]
pub(super) struct Exposition {
    template: Vec<u8>,
    /// Offsets in the template at which a scrape's number is written.
    number_offsets: Vec<usize>,
    series: Vec<Series>,
}

/// One series of the body.
#[derive(Debug)]
struct Series {
    /// Exposed labels, sorted, without those that a scrape adds.
    labels: Labels,
    code: u32,
    is_fraction: bool,
}

/// Number of series in a block: a histogram, four counters and three gauges.
pub(super) const BLOCK: usize = 20;

const BLOCKS_IN_FAMILY: usize = 25;
const BOUNDS: [&str; 11] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.5", "2.5", "7.5", "+Inf",
];
const CODES: u64 = 100_000;
/// Added to a scrape's number, so that all values have the same number of digits.
const FIRST: u64 = 1_000_000;
const DIGITS: usize = 7;
const FRACTION: f64 = 0.25;
const FRACTION_TEXT: &str = ".25";

/// External label.
const CLUSTER: (&str, &str) = ("cluster", "load");
/// Job of all targets.
pub(super) const JOB: &str = "load";

/// `instance` label of a target.
pub(super) fn instance(target: usize) -> String {
    format!("target-{target:03}")
}

// === impl Exposition ===

impl Exposition {
    /// Creates a body with a number of series, which is a multiple of [`BLOCK`].
    pub(super) fn new(series: usize) -> Self {
        let mut exposition = Self {
            template: Vec::new(),
            number_offsets: Vec::new(),
            series: Vec::new(),
        };
        let blocks: Vec<usize> = (0..series / BLOCK).collect();
        for (family, blocks) in blocks.chunks(BLOCKS_IN_FAMILY).enumerate() {
            exposition.histograms(family, blocks);
            exposition.counters(family, blocks);
            exposition.gauges(family, blocks);
        }
        exposition
    }

    /// Body of a scrape. The first scrape has number 1.
    pub(super) fn render(&self, scrape: u32) -> Vec<u8> {
        let number = (FIRST + u64::from(scrape)).to_string();
        let mut body = self.template.clone();
        for offset in &self.number_offsets {
            body[*offset..offset + DIGITS].copy_from_slice(number.as_bytes());
        }
        body
    }

    /// Number of samples in a scrape, including the reports.
    pub(super) fn samples(&self) -> usize {
        self.series.len() + REPORTS.len()
    }

    /// Number of samples in the body.
    pub(super) fn exposed(&self) -> usize {
        self.series.len()
    }

    /// Number of the scrape with this value of a series. `None` if no scrape has it.
    pub(super) fn scrape(&self, series: usize, value: f64) -> Option<u32> {
        let Series {
            code, is_fraction, ..
        } = self.series[series];
        let fraction = if is_fraction { FRACTION } else { 0.0 };
        if !value.is_finite() || value < 0.0 || value.fract() != fraction {
            return None;
        }
        let whole = value as u64;
        let scrape = (whole / CODES).checked_sub(FIRST)?;
        (whole % CODES == u64::from(code)).then_some(u32::try_from(scrape).ok()?)
    }

    /// Encoded labels of all series of a scrape, as fields of a remote-write time series.
    /// Those of the body come first, then the reports.
    pub(super) fn written_labels(&self, target: usize) -> impl Iterator<Item = Vec<u8>> {
        let instance = instance(target);
        let reports = REPORTS.map(|name| Labels::from_iter([(METRIC_NAME, name)]));
        let exposed = self.series.iter().map(|series| series.labels.clone());
        exposed.chain(reports).map(move |labels| {
            let mut labels = labels.to_builder();
            for (name, value) in [CLUSTER, ("instance", &instance), ("job", JOB)] {
                labels.set(name, value);
            }
            write_labels(&labels.build())
        })
    }

    fn histograms(&mut self, family: usize, blocks: &[usize]) {
        let name = format!("load_request_duration_{family}_seconds");
        self.comment(&name, "histogram");
        for block in blocks {
            let code = (block * BLOCK) as u32;
            let bucket = format!("{name}_bucket");
            for (i, bound) in BOUNDS.iter().enumerate() {
                self.sample(&bucket, *block, &[("le", bound)], code + i as u32, false);
            }
            // The count of a valid histogram is that of its last bucket.
            let last = (BOUNDS.len() - 1) as u32;
            self.sample(&format!("{name}_sum"), *block, &[], code + last, true);
            self.sample(&format!("{name}_count"), *block, &[], code + last, false);
        }
    }

    fn counters(&mut self, family: usize, blocks: &[usize]) {
        let name = format!("load_responses_{family}_total");
        self.comment(&name, "counter");
        for block in blocks {
            for (i, status) in ["200", "304", "404", "500"].into_iter().enumerate() {
                let code = (block * BLOCK + 13 + i) as u32;
                self.sample(&name, *block, &[("status", status)], code, false);
            }
        }
    }

    fn gauges(&mut self, family: usize, blocks: &[usize]) {
        let name = format!("load_queue_{family}_length");
        self.comment(&name, "gauge");
        for block in blocks {
            for (i, queue) in ["fast", "slow", "dead"].into_iter().enumerate() {
                let code = (block * BLOCK + 17 + i) as u32;
                self.sample(&name, *block, &[("queue", queue)], code, true);
            }
        }
    }

    fn comment(&mut self, name: &str, kind: &str) {
        let text = format!("# HELP {name} Load of the judge\n# TYPE {name} {kind}\n");
        self.template.extend_from_slice(text.as_bytes());
    }

    fn sample(
        &mut self,
        name: &str,
        block: usize,
        more: &[(&str, &str)],
        code: u32,
        is_fraction: bool,
    ) {
        let handler = format!("/api/v1/resource/{block}");
        let own = [("handler", handler.as_str()), ("method", "get")];
        let labels = || own.iter().chain(more).copied();
        let mut line = format!("{name}{{");
        for (name, value) in labels() {
            // Writing to a string does not fail.
            let _ = write!(line, "{name}=\"{value}\",");
        }
        line.pop();
        line.push_str("} ");
        self.number_offsets.push(self.template.len() + line.len());
        let fraction = if is_fraction { FRACTION_TEXT } else { "" };
        let _ = writeln!(line, "{:0DIGITS$}{code:05}{fraction}", 0);
        self.template.extend_from_slice(line.as_bytes());
        self.series.push(Series {
            labels: labels().chain([(METRIC_NAME, name)]).collect(),
            code,
            is_fraction,
        });
    }
}

fn write_labels(labels: &Labels) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in labels.iter() {
        put_header(
            1,
            bytes_len(1, name.len()) + bytes_len(2, value.len()),
            &mut written,
        );
        put_bytes(1, name.as_bytes(), &mut written);
        put_bytes(2, value.as_bytes(), &mut written);
    }
    written
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn every_value_contains_the_number_of_its_scrape() {
        let exposition = Exposition::new(3 * BLOCK);
        let body = String::from_utf8(exposition.render(42)).unwrap();
        let values = body.lines().filter(|line| !line.starts_with('#'));
        let values = values.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
        for (series, value) in values.enumerate() {
            assert_eq!(exposition.scrape(series, value), Some(42));
            assert_eq!(exposition.scrape(series, value + 1.0), None);
            assert_eq!(exposition.scrape(series, value + 0.5), None);
            assert_eq!(exposition.scrape(series, -value), None);
        }
        assert_eq!(exposition.exposed(), 60);
        assert_eq!(exposition.scrape(0, f64::NAN), None);
    }

    #[test]
    fn encodes_labels_as_remote_write_does() {
        let written = Exposition::new(BLOCK).written_labels(7).next().unwrap();
        let series = proto::v1::TimeSeries::decode(written.as_slice()).unwrap();
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|label| (label.name.as_str(), label.value.as_str()))
            .collect();
        let expected = [
            ("__name__", "load_request_duration_0_seconds_bucket"),
            ("cluster", "load"),
            ("handler", "/api/v1/resource/0"),
            ("instance", "target-007"),
            ("job", "load"),
            ("le", "0.005"),
            ("method", "get"),
        ];
        assert_eq!(labels, expected);
    }
}
