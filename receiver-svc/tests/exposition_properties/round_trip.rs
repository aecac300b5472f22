//! Checks that parsing a rendered scrape restores it.

use proptest::prelude::*;
use receiver_svc::exposition::{
    AnyParser, Entry, Exemplar, Format, MetricType, Parser, ParserOptions,
};

use crate::{
    model::{self, Family},
    render,
};

/// One entry with everything that the parser returns for it.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Help(String, String),
    Type(String, MetricType),
    Sample {
        labels: Vec<(String, String)>,
        bits: u64,
        timestamp: Option<i64>,
        exemplars: usize,
    },
    Exemplar(Exemplar),
}

proptest! {
    #[test]
    fn parsing_restores_rendered_text(families in model::families()) {
        let body = render::text(&families);
        prop_assert_eq!(read(Format::Text, body.as_bytes()), expected(&families, |_| false));
    }

    #[test]
    fn parsing_restores_rendered_openmetrics(families in model::families()) {
        let body = render::openmetrics(&families);
        prop_assert_eq!(read(Format::OpenMetrics, body.as_bytes()), expected(&families, |_| true));
    }

    #[test]
    fn parsing_restores_rendered_protobuf(families in model::families()) {
        let body = render::protobuf(&families);
        let exemplars = |metric_type| metric_type == MetricType::Counter;
        prop_assert_eq!(read(Format::Protobuf, &body), expected(&families, exemplars));
    }

    /// Otherwise the scrape cache would return the labels of another series.
    #[test]
    fn gives_equal_labels_for_equal_raw_texts(families in model::families()) {
        let bodies = [
            (Format::Text, render::text(&families).into_bytes()),
            (Format::OpenMetrics, render::openmetrics(&families).into_bytes()),
            (Format::Protobuf, render::protobuf(&families)),
        ];
        for (format, body) in bodies {
            let mut parser = AnyParser::new(format, &ParserOptions::default(), &body);
            let mut seen = std::collections::HashMap::new();
            while let Some(entry) = parser.next().unwrap() {
                let Entry::Series(series) = entry else { continue };
                let raw = series.raw.to_vec();
                let mut labels = Vec::new();
                parser.labels(&mut labels);
                let first = seen.entry(raw).or_insert_with(|| labels.clone());
                prop_assert_eq!(first, &labels);
            }
        }
    }
}

fn read(format: Format, body: &[u8]) -> Vec<Read> {
    let mut parser = AnyParser::new(format, &ParserOptions::default(), body);
    let mut entries = Vec::new();
    loop {
        let (value, timestamp) = match parser.next() {
            Err(error) => panic!("{error} in {}", String::from_utf8_lossy(body)),
            Ok(None) => return entries,
            Ok(Some(Entry::Help { metric, help })) => {
                entries.push(Read::Help(metric.into(), help.into()));
                continue;
            }
            Ok(Some(Entry::Type {
                metric,
                metric_type,
            })) => {
                entries.push(Read::Type(metric.into(), metric_type));
                continue;
            }
            Ok(Some(Entry::Series(series))) => (series.value, series.timestamp),
            Ok(Some(other)) => panic!("{other:?}"),
        };
        let mut labels = Vec::new();
        parser.labels(&mut labels);
        let exemplars: Vec<_> = std::iter::from_fn(|| parser.exemplar()).collect();
        let (bits, count) = (value.to_bits(), exemplars.len());
        entries.push(Read::Sample {
            labels,
            bits,
            timestamp,
            exemplars: count,
        });
        entries.extend(exemplars.into_iter().map(Read::Exemplar));
    }
}

/// Entries to expect, with exemplars for the types that can carry them.
fn expected(families: &[Family], exemplars: impl Fn(MetricType) -> bool) -> Vec<Read> {
    let mut entries = Vec::new();
    for family in families {
        entries.push(Read::Help(family.name.clone(), family.help.clone()));
        entries.push(Read::Type(family.name.clone(), family.metric_type));
        for sample in &family.samples {
            let mut labels = vec![("__name__".to_owned(), family.name.clone())];
            labels.extend(sample.labels.iter().cloned());
            let carried = sample
                .exemplar
                .clone()
                .filter(|_| exemplars(family.metric_type));
            entries.push(Read::Sample {
                labels,
                bits: sample.value.to_bits(),
                timestamp: sample.timestamp,
                exemplars: usize::from(carried.is_some()),
            });
            entries.extend(carried.map(|(labels, value)| {
                Read::Exemplar(Exemplar {
                    labels,
                    value,
                    timestamp: None,
                })
            }));
        }
    }
    entries
}
