//! Measures the parsers on a scrape of known series: they parse the body but no labels,
//! which the scrape cache already has.
//!
//! `cargo bench -p receiver-svc --bench exposition`

use divan::{Bencher, black_box, counter::ItemsCount};
use receiver_svc::exposition::{AnyParser, Entry, Format, Parser, ParserOptions};

const FAMILIES: usize = 100;
const SERIES: usize = 100;

fn main() {
    divan::main();
}

#[divan::bench]
fn text(bencher: Bencher<'_, '_>) {
    let body = body();
    run(bencher, Format::Text, &ParserOptions::default(), &body);
}

#[divan::bench]
fn openmetrics(bencher: Bencher<'_, '_>) {
    let body = body() + "# EOF\n";
    run(
        bencher,
        Format::OpenMetrics,
        &ParserOptions::default(),
        &body,
    );
}

/// OpenMetrics with a search for `_created` samples, of which there are none.
#[divan::bench]
fn openmetrics_start_timestamps(bencher: Bencher<'_, '_>) {
    let body = body() + "# EOF\n";
    let options = ParserOptions {
        start_timestamps: true,
        ..ParserOptions::default()
    };
    run(bencher, Format::OpenMetrics, &options, &body);
}

/// First scrape of a target, which reads all labels.
#[divan::bench]
fn text_with_labels(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher.counter(lines(&body)).bench_local(|| {
        let mut parser = parser(Format::Text, &ParserOptions::default(), &body);
        let mut labels = Vec::new();
        let mut read = 0;
        while let Some(entry) = parser.next().unwrap() {
            if matches!(entry, Entry::Series(_)) {
                labels.clear();
                parser.labels(&mut labels);
                read += labels.len();
            }
        }
        read
    });
}

/// Baseline: a widely used Rust parser of the text format.
#[divan::bench]
fn prometheus_parse(bencher: Bencher<'_, '_>) {
    let body = body();
    bencher.counter(lines(&body)).bench_local(|| {
        let lines = black_box(&body).lines().map(|line| Ok(line.to_owned()));
        prometheus_parse::Scrape::parse(lines)
            .unwrap()
            .samples
            .len()
    });
}

fn run(bencher: Bencher<'_, '_>, format: Format, options: &ParserOptions, body: &str) {
    bencher.counter(lines(body)).bench_local(|| {
        let mut parser = parser(format, options, body);
        let mut sum = 0.0;
        loop {
            match parser.next().unwrap() {
                None => return sum,
                Some(Entry::Series(series)) => sum += series.value + series.raw.len() as f64,
                Some(_) => continue,
            }
            parser.start_timestamp();
        }
    });
}

fn parser<'a>(format: Format, options: &ParserOptions, body: &'a str) -> AnyParser<'a> {
    AnyParser::new(format, options, black_box(body.as_bytes()))
}

fn lines(body: &str) -> ItemsCount {
    ItemsCount::new(body.lines().count())
}

/// Body of 10,000 series with the labels of a typical web service.
fn body() -> String {
    let mut body = String::new();
    for family in 0..FAMILIES {
        let name = format!("http_server_requests_{family}_total");
        body += &format!("# HELP {name} Requests that were answered.\n# TYPE {name} counter\n");
        for series in 0..SERIES {
            let value = (family * 7919 + series * 104_729) as f64 * 1.25;
            body += &format!(
                "{name}{{method=\"GET\",path=\"/api/v1/resource/{series}\",code=\"200\",\
                 zone=\"eu-west-1a\"}} {value}\n"
            );
        }
    }
    body
}
