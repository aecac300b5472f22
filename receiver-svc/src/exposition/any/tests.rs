use proptest::prelude::*;

use super::*;

/// Lines of which some are prefixes of others, some are valid in one format only, and some
/// are invalid.
const LINES: [&str; 24] = [
    "a 1",
    "a  1",
    "a\t1",
    "ab 1",
    "a{} 1",
    "a {} 1",
    "a {b=\"c\"} 1",
    "  a 1",
    "\ta{b=\"c\"} 2 5",
    "a{b=\"c\"} 1",
    "a{b=\"c\"}1",
    "a{b=\"c\"}  1",
    "a{b=\"c\",} 1",
    "a{b=\"c\" d=\"e\"} 1",
    "a{b=\"}\"} 1",
    "a{b=\"\\\"}\"} NaN # {trace_id=\"x\"} 1",
    "{\"a\"} 1",
    "{\"a\",b=\"c\"} 1",
    "a{\"b\"=\"c\"} 1",
    "a\0 1",
    "a{b=\"\0\"} 1 2",
    "a_total{b=\"c\"} +Inf",
    "# TYPE a counter",
    "",
];

/// Everything that a parser returns for a body. `expected` gives the text of the series that
/// it is told to expect before each entry.
fn read(format: Format, body: &[u8], mut expected: impl FnMut() -> Vec<u8>) -> Vec<String> {
    let options = ParserOptions {
        start_timestamps: true,
        ..ParserOptions::default()
    };
    let mut parser = AnyParser::new(format, &options, body);
    let mut seen = Vec::new();
    loop {
        let entry = match parser.next_expecting(&expected()) {
            Ok(None) => return seen,
            Err(error) => {
                seen.push(error.to_string());
                return seen;
            }
            Ok(Some(entry)) => {
                let is_series = matches!(entry, Entry::Series(_));
                seen.push(format!("{entry:?}"));
                is_series
            }
        };
        if entry {
            let mut labels = Vec::new();
            parser.labels(&mut labels);
            let (exemplar, start) = (parser.exemplar(), parser.start_timestamp());
            seen.push(format!("{labels:?} {exemplar:?} {start:?}"));
        }
    }
}

/// Texts of the series that are valid in a format.
fn texts(format: Format) -> Vec<Vec<u8>> {
    let mut texts = vec![Vec::new()];
    for line in LINES {
        let body = format!("{line}\n# EOF\n");
        let options = ParserOptions::default();
        let mut parser = AnyParser::new(format, &options, body.as_bytes());
        if let Ok(Some(Entry::Series(series))) = parser.next() {
            texts.push(series.raw.to_vec());
        }
    }
    texts
}

proptest! {
    #[test]
    fn an_expected_series_changes_no_result(
        lines in proptest::collection::vec(0..LINES.len(), 0..6),
        expected in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let lines: Vec<_> = lines.into_iter().map(|line| LINES[line]).collect();
        let body = format!("{}\n# EOF\n", lines.join("\n"));
        for format in [Format::Text, Format::OpenMetrics] {
            let texts = texts(format);
            let plain = read(format, body.as_bytes(), Vec::new);
            let mut next = expected.iter().cycle();
            let hinted = read(format, body.as_bytes(), || {
                next.next().map_or(Vec::new(), |index| index.get(&texts).clone())
            });
            prop_assert_eq!(&hinted, &plain);
            // The text of the series that follows.
            let mut exact = series_texts(format, body.as_bytes()).into_iter();
            let exact = read(format, body.as_bytes(), || exact.next().unwrap_or_default());
            prop_assert_eq!(&exact, &plain);
        }
    }
}

/// For each entry of a body, its text if it is a series.
fn series_texts(format: Format, body: &[u8]) -> Vec<Vec<u8>> {
    let options = ParserOptions {
        start_timestamps: true,
        ..ParserOptions::default()
    };
    let mut parser = AnyParser::new(format, &options, body);
    let mut texts = Vec::new();
    while let Ok(Some(entry)) = parser.next() {
        texts.push(match entry {
            Entry::Series(series) => series.raw.to_vec(),
            _ => Vec::new(),
        });
    }
    texts
}
