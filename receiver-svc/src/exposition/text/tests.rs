use super::*;
use crate::exposition::testing::{error, samples};

fn parser(body: &str) -> TextParser<'_> {
    TextParser::new(body.as_bytes(), false)
}

#[test]
fn accepts_whitespace_anywhere_and_missing_commas() {
    let plain = samples(parser("a{b=\"c\",d=\"e\"} 1 5\n"));
    assert_eq!(plain, ["a{b=c,d=e} 1 @5"]);
    assert_eq!(
        samples(parser("\n \t\na { b = \"c\" d=\"e\",}\t1  5 ")),
        plain
    );
}

#[test]
fn blanks_before_a_name_are_part_of_the_name() {
    let body = "  a{b=\"c\"} 1\n\td 2\n \te { f=\"g\"} 3\n";
    assert_eq!(
        samples(parser(body)),
        ["  a{b=c} 1", "\td 2", " \te{f=g} 3"]
    );
    assert_eq!(samples(parser("  {\"a.b\",c=\"d\"} 1\n")), ["a.b{c=d} 1"]);
    let mut indented = parser("  # TYPE a gauge\n");
    let entry = indented.advance().unwrap();
    assert!(matches!(entry, Some(Entry::Type { .. })), "{entry:?}");
}

#[test]
fn a_null_byte_at_the_start_of_a_line_or_comment_ends_the_body() {
    for end in [
        "\0", "\0\0\0", "\0b 2\n!", " \t\0\n!", "#x\0\n!", "# \0\n!", "#\0\n!",
    ] {
        let body = format!("a 1\n{end}");
        let mut parser = parser(&body);
        assert!(parser.advance().unwrap().is_some());
        for _ in 0..2 {
            assert_eq!(parser.advance().unwrap(), None, "{end:?}");
        }
    }
    assert_eq!(
        samples(parser("# a\0b\n# HE\0LP a\n# HELP \0a b\0\na 1\n")),
        ["a 1"]
    );
    for body in [
        "a 1\0\n",
        "a\0 1\n",
        "a{\0} 1\n",
        "# HELP a\0 b\n",
        "# TYPE a gauge\0\n",
    ] {
        error(parser(body));
    }
}

#[test]
fn null_bytes_in_label_values_are_read_as_in_prometheus() {
    let is = |body: &str, value: &str| {
        let want = format!("a{{b={value}}} 1");
        assert_eq!(samples(parser(body)), [want], "{body:?}");
    };
    is("a{b=\"c\0d\"} 1\n", "c\0d");
    is("a{b= \0\"c\"} 1\n", "c");
    is("a{b=\"c\"\0} 1\n", "c\"");
    is("a{b=\"c\\\0\"\"} 1\n", "c\\\0\"");
}

#[test]
fn accepts_names_within_the_braces() {
    let body = "{\"a b\",\"c.d\"=\"e\"} 1\n{c=\"\",\"a\\\"\"} 2\n";
    assert_eq!(samples(parser(body)), ["a b{c.d=e} 1", "a\"{c=} 2"]);
    assert_eq!(samples(parser("{\"\",b=\"c\"} 1\n")), ["{b=c} 1"]);
}

#[test]
fn normalizes_bounds_and_quantiles_in_families_of_their_type() {
    let body = "# TYPE a histogram\na_bucket{le=\"1\"} 1\na{quantile=\"1\"} 1\n\
                # TYPE b summary\nb{quantile=\"1e6\"} 1\nb{quantile=\"1_0\"} 1\nb{le=\"1\"} 1\n";
    let want = [
        "a_bucket{le=1.0} 1",
        "a{quantile=1} 1",
        "b{quantile=1e+06} 1",
        "b{quantile=10.0} 1",
        "b{le=1} 1",
    ];
    assert_eq!(samples(parser(body)), want);
}

#[test]
fn type_labels_override_exposed_labels() {
    let body = "# TYPE a gauge\na{__type__=\"x\",__name__=\"y\",b=\"c\"} 1\n";
    let parser = TextParser::new(body.as_bytes(), true);
    assert_eq!(samples(parser), ["a{__type__=gauge,b=c} 1"]);
    let doubled = samples(TextParser::new(body.as_bytes(), false));
    assert_eq!(doubled, ["a{__type__=x,__name__=y,b=c} 1"]);
}

#[test]
fn parses_metadata_lines_and_comments() {
    let mut parser = parser("# HELP a  b\\n\\\"\n#\tTYPE \"c d\" untyped\n#HELP e\n# HELPf\n");
    let mut entries = Vec::new();
    while let Some(entry) = parser.advance().unwrap() {
        entries.push(entry);
    }
    let want = [
        Entry::Help {
            metric: "a".into(),
            help: " b\n\\\"".into(),
        },
        Entry::Type {
            metric: "c d".into(),
            metric_type: MetricType::Unknown,
        },
        Entry::Comment(b"#HELP e"),
        Entry::Comment(b"# HELPf"),
    ];
    assert_eq!(entries, want);
}

#[test]
fn errors_name_the_line_and_the_expected_and_found_text() {
    let is = |body, want: &str| assert_eq!(error(parser(body)), want, "{body:?}");
    is(
        "a 1\nb",
        "line 2: expected a value, found the end of the body",
    );
    is(
        "a 1\n\n2 3",
        "line 3: expected a metric name, `{` or `#`, found \"2 3\"",
    );
    is(
        "a 1_0\n",
        "line 1: expected a number as a value, found \"1_0\"",
    );
    is(
        "a 1 2 3\n",
        "line 1: expected the end of the line, found \"3\"",
    );
    is(
        "a 1 -2\n",
        "line 1: expected a timestamp or the end of the line, found \"-2\"",
    );
    is(
        "a 1 99999999999999999999\n",
        "line 1: expected a timestamp of 64 bits, found \"99999999999999999999\"",
    );
    is(
        "a{b=c} 1\n",
        "line 1: expected a label value in quotes, found \"c} 1\"",
    );
    is(
        "a{b=\"c} 1\n",
        "line 1: expected a label value in quotes, found \"\\\"c} 1\"",
    );
    is(
        "a{1=\"c\"} 1\n",
        "line 1: expected a label name or `}`, found \"1=\\\"c\\\"} 1\"",
    );
    is(
        "a{\"b\"} 1\n",
        "line 1: expected one metric name only, found \"b\"",
    );
    is(
        "{b=\"c\"} 1\n",
        "line 1: expected a metric name, found none",
    );
    is(
        "# TYPE a info\n",
        "line 1: expected counter, gauge, histogram, summary or untyped, found \"info\"",
    );
    is(
        "# HELP \n",
        "line 1: expected a metric name, found the end of the line",
    );
}

#[test]
fn rejects_invalid_utf8_except_in_comments() {
    let parse = |body| {
        let mut parser = TextParser::new(body, false);
        while parser.advance()?.is_some() {}
        Ok::<_, ParseError>(())
    };
    assert_eq!(parse(b"# \xff\na{b=\"c\"} 1\n"), Ok(()));
    for body in [
        &b"a{b=\"\xff\"} 1\n"[..],
        b"{\"\xff\"} 1\n",
        b"# HELP a \xff\n",
    ] {
        let message = parse(body).unwrap_err().message;
        assert!(message.contains("UTF-8"), "{message}");
    }
}
