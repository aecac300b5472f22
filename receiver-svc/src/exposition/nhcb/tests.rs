use super::*;
use crate::exposition::{openmetrics::OpenMetricsParser, testing::samples, text::TextParser};

const BODY: &str = "# TYPE a histogram\n\
                    a_bucket{b=\"c\",le=\"1\"} 1 5\n\
                    a_bucket{le=\"+Inf\",b=\"c\"} 2 5\n\
                    a_count{b=\"c\"} 2 5\n\
                    a_sum{b=\"c\"} 3 5\n\
                    a_count{b=\"d\"} 1 6\n\
                    # TYPE e gauge\n\
                    e 1 7\n";

fn parser(body: &str, keep_classic: bool) -> impl Parser {
    NhcbParser::new(TextParser::new(body.as_bytes(), false), keep_classic)
}

#[test]
fn replaces_the_classic_samples_with_a_native_histogram() {
    let want = ["a{b=c} schema -53 @5", "a{b=d} schema -53 @6", "e 1 @7"];
    assert_eq!(samples(parser(BODY, false)), want);
}

#[test]
fn keep_classic_returns_the_classic_samples_first() {
    let entries = samples(parser(BODY, true));
    assert_eq!(entries.len(), 8);
    assert_eq!(entries[3..5], ["a_sum{b=c} 3 @5", "a{b=c} schema -53 @5"]);
}

#[test]
fn the_end_of_the_body_completes_a_histogram() {
    let body = "# TYPE a histogram\na_count 2\na_bucket{le=\"1\"} 2";
    assert_eq!(samples(parser(body, false)), ["a schema -53"]);
}

#[test]
fn drops_samples_that_form_no_valid_histogram() {
    let body = "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"2\"} 1\na_x 1\n";
    assert_eq!(samples(parser(body, false)), ["a_x 1"]);
}

#[test]
fn passes_on_samples_outside_the_family() {
    let body = "# TYPE a histogram\nb_count 1\na_bucket{le=\"x\"} 1\na_bucket 1\n";
    let want = ["b_count 1", "a_bucket{le=x} 1", "a_bucket 1"];
    assert_eq!(samples(parser(body, false)), want);
}

#[test]
fn the_histogram_has_the_exemplars_and_start_of_its_samples() {
    let body = "# TYPE a histogram\n\
                a_bucket{le=\"1\"} 1 # {t=\"1\"} 0.5\n\
                a_count 1 # {t=\"2\"} 0.6\n\
                a_created 2\n\
                # EOF\n";
    let inner = OpenMetricsParser::new(body.as_bytes(), false, true);
    let mut parser = NhcbParser::new(inner, false);
    while !matches!(parser.next().unwrap().unwrap(), Entry::Histogram(_)) {}
    assert_eq!(parser.start_timestamp(), Some(2000));
    let values = std::iter::from_fn(|| parser.exemplar()).map(|exemplar| exemplar.value);
    assert_eq!(values.collect::<Vec<_>>(), [0.5, 0.6]);
    assert_eq!(parser.next(), Ok(None));
}
