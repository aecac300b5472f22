//! Bodies that the targets expose.
//!
//! A body is a text with the offsets of its values. A scrape replaces the digits of each value,
//! so that every value changes and the size does not.

use std::{fmt::Write, path::Path};

use anyhow::{Context, ensure};

/// Kind of generated bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shape {
    /// Counters with two short labels: about 60 bytes a sample.
    Counters,
    /// Whole histograms and summaries with the labels of a pod: about 220 bytes a sample.
    Histograms,
    /// Recorded bodies of exporters, see `--bodies`.
    Recorded,
}

/// Body of one target.
#[derive(Debug)]
pub(super) struct Body {
    text: Vec<u8>,
    /// Offsets of the digits that a scrape replaces.
    offsets: Vec<usize>,
    /// Number of samples.
    pub(super) samples: usize,
}

const DIGITS: usize = 7;
/// Added to the number of a scrape, so that all have the same number of digits.
const FIRST: u64 = 1_000_000;
const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
];
const QUANTILES: [&str; 3] = ["0.5", "0.9", "0.99"];
/// Series of a family.
const FAMILY: usize = 100;

// === impl Body ===

impl Body {
    /// Generates a body of about `series` series. Returns `None` for recorded bodies.
    pub(super) fn generate(shape: Shape, series: usize) -> Option<Self> {
        let mut body = Self {
            text: Vec::new(),
            offsets: Vec::new(),
            samples: 0,
        };
        match shape {
            Shape::Counters => body.counters(series),
            Shape::Histograms => body.histograms(series),
            Shape::Recorded => return None,
        }
        Some(body)
    }

    /// Reads the recorded text bodies below a folder, one of each exporter.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub(super) fn recorded(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder).with_context(|| {
            format!(
                "cannot read recorded bodies below {}, see --bodies",
                folder.display()
            )
        })?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry?.path().join("1.text.body"));
        }
        files.sort();
        let texts = files.iter().filter_map(|file| std::fs::read(file).ok());
        let bodies: Vec<_> = texts.map(Self::of_text).collect();
        ensure!(
            !bodies.is_empty(),
            "no file {}/*/1.text.body, see --bodies",
            folder.display()
        );
        Ok(bodies)
    }

    /// Text of a scrape.
    pub(super) fn render(&self, scrape: u64) -> Vec<u8> {
        let number = (FIRST + scrape % FIRST).to_string();
        let mut text = self.text.clone();
        for offset in &self.offsets {
            text[*offset..offset + DIGITS].copy_from_slice(number.as_bytes());
        }
        text
    }

    /// Recorded text. Its integers of at least as many digits as a scrape's number change.
    fn of_text(text: Vec<u8>) -> Self {
        let (mut offsets, mut samples, mut at) = (Vec::new(), 0, 0);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.starts_with(b"#") && line.len() > 1 {
                samples += 1;
                let line = line.trim_ascii_end();
                let value = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                if value.len() >= DIGITS && value.iter().all(u8::is_ascii_digit) {
                    offsets.push(at + line.len() - DIGITS);
                }
            }
            at += line.len();
        }
        Self {
            text,
            offsets,
            samples,
        }
    }

    fn counters(&mut self, series: usize) {
        for number in 0..series {
            let name = format!("app_requests_{}_total", number / FAMILY);
            if number % FAMILY == 0 {
                self.comment(&name, "counter");
            }
            let labels = format!("code=\"{}\",way=\"{}\"", 200 + number % 5, number % FAMILY);
            self.sample(&name, &labels);
        }
    }

    fn histograms(&mut self, series: usize) {
        let mut group = 0;
        while self.samples < series {
            let (histogram, summary) = (
                format!("http_server_request_duration_{}_seconds", group / 10),
                format!("rpc_client_call_duration_{}_seconds", group / 10),
            );
            let labels = |route: usize| {
                format!(
                    "namespace=\"production\",service=\"frontend\",\
                     container=\"frontend-server\",version=\"2026.11.3-8f2c1d9\",\
                     http_request_method=\"GET\",http_route=\"/api/v1/resource/{route}/items\",\
                     http_response_status_code=\"200\""
                )
            };
            self.comment(&histogram, "histogram");
            for route in group..group + 10 {
                self.family(&histogram, "_bucket", "le", &BOUNDS, &labels(route));
            }
            self.comment(&summary, "summary");
            for route in group..group + 10 {
                self.family(&summary, "", "quantile", &QUANTILES, &labels(route));
            }
            group += 10;
        }
    }

    fn family(&mut self, name: &str, suffix: &str, key: &str, values: &[&str], labels: &str) {
        for value in values {
            self.sample(
                &format!("{name}{suffix}"),
                &format!("{labels},{key}=\"{value}\""),
            );
        }
        self.sample(&format!("{name}_sum"), labels);
        self.sample(&format!("{name}_count"), labels);
    }

    fn comment(&mut self, name: &str, kind: &str) {
        let text = format!("# HELP {name} Generated load.\n# TYPE {name} {kind}\n");
        self.text.extend_from_slice(text.as_bytes());
    }

    fn sample(&mut self, name: &str, labels: &str) {
        let mut line = format!("{name}{{{labels}}} ");
        self.offsets.push(self.text.len() + line.len());
        // Writing to a string does not fail.
        let _ = writeln!(line, "{:0DIGITS$}", 0);
        self.text.extend_from_slice(line.as_bytes());
        self.samples += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_value_changes_and_the_size_does_not() {
        for (shape, bytes) in [(Shape::Counters, 40..70), (Shape::Histograms, 200..270)] {
            let body = Body::generate(shape, 500).unwrap();
            let (one, two) = (body.render(1), body.render(2));
            assert_eq!(one.len(), two.len());
            assert!(bytes.contains(&(one.len() / body.samples)), "{shape:?}");
            let values = |text: Vec<u8>| -> Vec<String> {
                let text = String::from_utf8(text).unwrap();
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                lines
                    .map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
                    .collect()
            };
            let (one, two) = (values(one), values(two));
            assert_eq!(one.len(), body.samples);
            assert!(one.iter().zip(&two).all(|(one, two)| one != two));
        }
        assert!(Body::generate(Shape::Recorded, 500).is_none());
    }

    #[test]
    fn only_long_integers_of_a_recorded_body_change() {
        let text = b"# TYPE a gauge\na 1\nb{c=\"d\"} 1234567890\ne 1.5e+09\n".to_vec();
        let body = Body::of_text(text);
        assert_eq!(body.samples, 3);
        let rendered = String::from_utf8(body.render(7)).unwrap();
        assert_eq!(
            rendered,
            "# TYPE a gauge\na 1\nb{c=\"d\"} 1231000007\ne 1.5e+09\n"
        );
    }
}
