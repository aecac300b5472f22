use crate::exposition::testing::{error, samples};

use super::*;

fn parser(body: &str) -> OpenMetricsParser<'_> {
    OpenMetricsParser::new(body.as_bytes(), false, true)
}

#[test]
fn stops_at_eof() {
    assert_eq!(samples(parser("a 1\n# EOF\n")), ["a 1"]);
    assert_eq!(samples(parser("a 1\n# EOF")), ["a 1"]);
    let mut ended = parser("# EOF");
    assert_eq!(ended.next(), Ok(None));
    assert_eq!(ended.next(), Ok(None));
}

#[test]
fn returns_a_sample_before_the_error_after_its_value() {
    for end in [" \n", "  5\n", "\0\n", " # x\n", " "] {
        let body = format!("a 1{end}");
        let mut parser = parser(&body);
        assert!(parser.next().unwrap().is_some(), "{body:?}");
        let error = parser.next().unwrap_err().to_string();
        let expected = "line 1: expected a timestamp, an exemplar or the end of the line";
        assert!(error.starts_with(expected), "{error}");
    }
    for body in ["a 1", "a 1 5 \n", "a 1 #\n", "a 1 # {b=\"c\"} 1 \n"] {
        assert!(parser(body).next().is_err(), "{body:?}");
    }
}

#[test]
fn null_bytes_are_read_as_in_prometheus() {
    let body = "# HE\0LP a b\na{c=\"d\0\"\0} 1\n# EOF\n\0\0";
    assert_eq!(samples(parser(body)), ["a{c=d\0\"} 1"]);
    error(parser("\0"));
    error(parser("a 1\n\0# EOF\n"));
}

#[test]
fn errors_name_the_line_and_the_expected_and_found_text() {
    let is = |body, want: &str| assert_eq!(error(parser(body)), want, "{body:?}");
    is(
        "a 1\n",
        "line 2: expected a metric name, `{` or `# EOF`, found the end of the body",
    );
    is(
        "a 1\n# EOF\nb",
        r#"line 3: expected the end of the body after `# EOF`, found "b""#,
    );
    is(
        "\n",
        "line 1: expected a metric name, `{` or `# EOF`, found the end of the line",
    );
    is("a  1\n", r#"line 1: expected a value, found " 1""#);
    is(
        "a 1 x\n",
        r#"line 1: expected a number as a timestamp, found "x""#,
    );
    is(
        "a 1 inf\n",
        "line 1: expected a finite timestamp, found inf",
    );
    is(
        "a{b=\"c\" d=\"e\"} 1\n",
        r#"line 1: expected `,` or `}` after a label, found " d=\"e\"} 1""#,
    );
    is(
        "a 1 # {b} 1\n",
        r#"line 1: expected `=` after a label name, found "} 1""#,
    );
    is(
        "# FOO a\n",
        r#"line 1: expected HELP, TYPE, UNIT or EOF, found "FOO a""#,
    );
    is(
        "# TYPE a untyped\n",
        "line 1: expected counter, gauge, histogram, gaugehistogram, \
        summary, info, stateset or unknown, found \"untyped\"",
    );
    is(
        "# UNIT a s\n",
        r#"line 1: expected a unit that the metric's name ends with, found "s""#,
    );
    is(
        "# HELP a b",
        "line 1: expected the end of the line, found the end of the body",
    );
}

#[test]
fn truncates_timestamps_in_seconds_to_milliseconds() {
    let body = "a 1 1.2509\na 1 -1\na 1 1e99\n# EOF\n";
    assert_eq!(
        samples(parser(body)),
        ["a 1 @1250", "a 1 @-1000", "a 1 @-9223372036854775808"]
    );
}

#[test]
fn returns_an_exemplar_once_and_unescaped() {
    let mut parser = parser("a 1 # {b=\"\\\"\\n\"} 2 3.5\n# EOF\n");
    parser.next().unwrap();
    let labels = vec![("b".to_owned(), "\"\n".to_owned())];
    let exemplar = Exemplar {
        labels,
        value: 2.0,
        timestamp: Some(3500),
    };
    assert_eq!(parser.exemplar(), Some(exemplar));
    assert_eq!(parser.exemplar(), None);
}

#[test]
fn created_samples_are_the_starts_of_preceding_samples() {
    let starts = |lines: &str| {
        let body = format!("{lines}# EOF\n");
        let mut parser = parser(&body);
        let mut starts = Vec::new();
        while let Some(entry) = parser.next().unwrap() {
            if matches!(entry, Entry::Series(_)) {
                starts.push(parser.start_timestamp());
            }
        }
        starts
    };
    let counter = |lines: &str| starts(&format!("# TYPE a counter\n{lines}"));
    assert_eq!(
        counter("a_total 1\na_created 2\na_total{b=\"\"} 1\n"),
        [Some(2000), None]
    );
    // Also applies to later samples of the metric.
    assert_eq!(
        counter("a_total 1\na_created 2\na_total 1\n"),
        [Some(2000), Some(2000)]
    );
    assert_eq!(counter("a_created 2\na_total 1\n"), [None]);
    assert_eq!(counter("a_total 1\n# HELP a b\na_created 2\n"), [None]);
    assert_eq!(
        starts("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_created 2\n"),
        [Some(2000), Some(2000)],
    );
    // A gauge has no start, so the sample is a series.
    assert_eq!(starts("# TYPE a gauge\na 1\na_created 2\n"), [None, None]);
}
