//! Helpers for the tests of all parsers.

use super::{Entry, Parser};

/// Formats the samples as `name{label=value,…} value @timestamp`. A native histogram has
/// its schema as the value.
pub(super) fn samples(mut parser: impl Parser) -> Vec<String> {
    let mut samples = Vec::new();
    while let Some(entry) = parser.next().unwrap() {
        let (value, timestamp) = match entry {
            Entry::Series(series) => (series.value.to_string(), series.timestamp),
            Entry::Histogram(series) => (
                format!("schema {}", series.histogram.schema),
                series.timestamp,
            ),
            _ => continue,
        };
        let mut labels = Vec::new();
        parser.labels(&mut labels);
        let name = labels.remove(0).1;
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let timestamp = timestamp.map_or(String::new(), |at| format!(" @{at}"));
        samples.push(format!("{name}{braces} {value}{timestamp}"));
    }
    samples
}

/// Returns the error that ends the parse. Panics if there is none.
pub(super) fn error(mut parser: impl Parser) -> String {
    loop {
        match parser.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("expected an error, found none"),
            Err(error) => return error.to_string(),
        }
    }
}
