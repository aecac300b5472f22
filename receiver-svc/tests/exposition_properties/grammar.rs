//! Describes the text formats as regular expressions. They are slow, but simple enough
//! to compare by eye with the lexers of Prometheus.

use std::sync::LazyLock;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use receiver_svc::exposition::{AnyParser, Entry, Format, Parser, ParserOptions};
use regex_automata::{Anchored, Input, meta::Regex, util::captures::Captures};

/// A sample: its series, the bits of its value and its timestamp.
type Sample = (String, u64, Option<i64>);

/// A line of the Prometheus text format.
static TEXT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?x)
        (?:
            (?<series> B NAME B \{ B (?: ITEM B ,? B )* \} ) B (?<value> V ) (?: [\ \t]+ (?<time> [0-9]+ ) )? B
          | (?<series2> B \{ B (?: ITEM B ,? B )* QUOTED B (?: , B (?: ITEM B ,? B )* )? \} )
                B (?<value2> V ) (?: [\ \t]+ (?<time2> [0-9]+ ) )? B
          | (?<series3> B NAME ) (?: [\ \t]+ (?<value3> V ) | (?<value4> [^{\ \t\n\w:] [^{\ \t\n]* ) )
                (?: [\ \t]+ (?<time3> [0-9]+ ) )? B
          | B \# [\ \t]+ HELP [\ \t]+ (?: NAME | QUOTED ) [^\n]*
          | B \# [\ \t]+ TYPE [\ \t]+ (?: NAME | QUOTED ) (?<type> [^\n]* )
          | B (?<comment> \# [^\n]* )
          | B
        ) (?: \n | \z )"#,
        &[(
            "ITEM",
            r#"(?: LNAME | QUOTED ) B = B "(?: [^"\\] | \\[^\n] )*""#,
        )],
    )
});

/// A line of OpenMetrics, except `# EOF` and `# UNIT`.
static OPENMETRICS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?x)
        (?:
            (?: (?<series> NAME (?: \{ LABELS \} )? )
              | (?<series2> \{ (?: ITEM , )* QUOTED (?: , ITEM )* ,? \} ) )
            \ (?<value> [^\ \n]+ ) (?: \ (?<time> [^\ \n]+ ) )?
            (?: \ \#\ \{ ELABELS \} \ (?<evalue> [^\ \n]+ ) (?: \ (?<etime> [^\ \n]+ ) )? )?
          | \#\ HELP\ (?: NAME | QUOTED ) \ [^\n]*
          | \#\ TYPE\ (?: NAME | QUOTED ) (?<type> \ [^\n]* )
        ) \n"#,
        &[
            ("ELABELS", r"(?: EITEM (?: , EITEM )* ,? )?"),
            ("LABELS", r"(?: ITEM (?: , ITEM )* ,? )?"),
            (
                "EITEM",
                r#"(?: LNAME | "(?: [^"\\\x00\n] | \\[^\n\x00] )*" ) = "(?: [^"\\\n\x00] | \\[^\n\x00] )*""#,
            ),
            (
                "ITEM",
                r#"(?: LNAME | QUOTED ) = "(?: [^"\\\n] | \\[^\n] )*""#,
            ),
        ],
    )
});

const TEXT_TYPES: &[&str] = &["counter", "gauge", "histogram", "summary", "untyped"];
const OPENMETRICS_TYPES: &[&str] = &[
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
    "unknown",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_text_parser_agrees_with_the_grammar(body in body()) {
        let read = read(Format::Text, &body);
        prop_assert_eq!(read, text(&body), "{:?}", body);
    }

    #[test]
    fn the_openmetrics_parser_agrees_with_the_grammar(body in body(), end in select(&["# EOF\n", "# EOF", ""])) {
        let body = body + end;
        let read = read(Format::OpenMetrics, &body);
        prop_assert_eq!(read, openmetrics(&body), "{:?}", body);
    }
}

/// Generates lines of both formats with random edits.
fn body() -> impl Strategy<Value = String> {
    let edit = (any::<Index>(), any::<bool>(), select(PIECES));
    (vec(select(LINES), 0..4), vec(edit, 0..3)).prop_map(|(lines, edits)| {
        let mut body = lines.concat();
        for (at, replace, piece) in edits {
            let boundaries: Vec<_> = body.char_indices().map(|(at, _)| at).collect();
            if !boundaries.is_empty() {
                let at = *at.get(&boundaries);
                let length = body[at..].chars().next().map_or(0, char::len_utf8);
                body.replace_range(at..at + if replace { length } else { 0 }, piece);
            }
        }
        body
    })
}

const LINES: &[&str] = &[
    "a 1\n",
    "a{} 1\n",
    "a{b=\"c\"} 1.5 5\n",
    "a{b=\"c\",d=\"e\\\"\\n\",} NaN\n",
    "{\"n\",x=\"y\"} +Inf 99.25\n",
    "{x=\"y\",\"n.m\"} -0\n",
    "a{\"l.m\"=\"\"} 1e3\n",
    "a 1 # {t=\"1\"} 2\n",
    "a 1 7 # {} 2 3.5\n",
    "a 1 Inf\n",
    "a{b=\"c\nd\"} 1\n",
    "a 1 # {t=\"\0\"} 2\n",
    "# TYPE a gauge\n",
    "# TYPE a unknown\n",
    "# TYPE \"a b\" counter\n",
    "# HELP a text\n",
    "# HELP a \n",
];

/// Edits. They contain no null bytes: Prometheus's lexers skip or keep those by rules that
/// unit tests of the parsers list one by one.
const PIECES: &[&str] = &[
    "",
    "",
    "a",
    "b:c",
    "_x1",
    "9",
    "{",
    "}",
    "\"",
    "\"q\"",
    "\"\"",
    "\\",
    "=",
    "=\"v\"",
    ",",
    " ",
    "  ",
    "\t",
    "\n",
    "1",
    "2.5",
    "-3",
    "nan",
    "+nan",
    "-inf",
    "1e999",
    "1_0",
    "0x1p3",
    ".",
    "#",
    "# ",
    " # {",
    "HELP ",
    "TYPE ",
    "gauge",
    "# EOF\n",
    "é",
    "\r",
    "'",
    "a{b=\"c\"}",
    "a{b=\"x\ny\"} 1",
    "99999999999999999999",
    "1 2 3",
];

const BLANKS: [char; 2] = [' ', '\t'];

fn text(body: &str) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut at = 0;
    while at < body.len() {
        // A null byte ends the body at the start of a line, and within a comment.
        if body[at..].trim_start_matches(BLANKS).starts_with('\0') {
            break;
        }
        let line = captures(&TEXT, body, at)?;
        let group = |names: &[&str]| names.iter().find_map(|name| named(&line, body, name));
        if let Some(series) = group(&["series", "series2", "series3"]) {
            let value = float(group(&["value", "value2", "value3", "value4"])?)?;
            let time = group(&["time", "time2", "time3"])
                .map(str::parse)
                .transpose()
                .ok()?;
            samples.push((series.to_owned(), value.to_bits(), time));
        }
        if let Some(text) = group(&["type"]) {
            TEXT_TYPES.contains(&text.get(1..)?).then_some(())?;
        }
        // A line that starts like metadata must not match as another comment.
        if let Some(comment) = group(&["comment"]) {
            let blank = comment[1..].starts_with(BLANKS);
            let word = comment[1..].trim_start_matches(BLANKS);
            let keyword = ["HELP ", "HELP\t", "TYPE ", "TYPE\t"];
            (!(blank && keyword.iter().any(|k| word.starts_with(k)))).then_some(())?;
            if word.starts_with('\0') || !blank && word.contains('\0') {
                break;
            }
        }
        at = line.get_match()?.end();
    }
    Some(samples)
}

fn openmetrics(body: &str) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut at = 0;
    loop {
        if let Some(rest) = body[at..].strip_prefix("# EOF") {
            return matches!(rest, "" | "\n").then_some(samples);
        }
        let line = captures(&OPENMETRICS, body, at)?;
        let group = |names: &[&str]| names.iter().find_map(|name| named(&line, body, name));
        let time = |name| match group(&[name]) {
            None => Some(None),
            Some(text) => float(text)
                .filter(|t| t.is_finite())
                .map(|t| Some(milliseconds(t))),
        };
        if let Some(series) = group(&["series", "series2"]) {
            let value = float(group(&["value"])?)?;
            samples.push((series.to_owned(), value.to_bits(), time("time")?));
        }
        if let Some(value) = group(&["evalue"]) {
            float(value)?;
            time("etime")?;
        }
        if let Some(text) = group(&["type"]) {
            OPENMETRICS_TYPES.contains(&&text[1..]).then_some(())?;
        }
        at = line.get_match()?.end();
    }
}

fn read(format: Format, body: &str) -> Option<Vec<Sample>> {
    let mut parser = AnyParser::new(format, &ParserOptions::default(), body.as_bytes());
    let mut samples = Vec::new();
    while let Some(entry) = parser.next().ok()? {
        if let Entry::Series(series) = entry {
            let raw = String::from_utf8(series.raw.to_vec()).unwrap();
            samples.push((raw, series.value.to_bits(), series.timestamp));
        }
    }
    Some(samples)
}

/// Parses a number with the standard library and rejects what Go rejects.
fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let signed = text.starts_with(['+', '-']);
    let digits = text.contains(|c: char| c.is_ascii_digit());
    match value {
        _ if value.is_nan() => (!signed).then_some(f64::from_bits(0x7ff8_0000_0000_0001)),
        _ if value.is_infinite() => (!digits).then_some(value),
        _ => Some(value),
    }
}

/// Converts to milliseconds and truncates. Returns `i64::MIN` on overflow.
fn milliseconds(seconds: f64) -> i64 {
    format!("{:.0}", (seconds * 1000.0).trunc())
        .parse()
        .unwrap_or(i64::MIN)
}

/// Builds a grammar from its parts and the parts that all grammars share.
fn regex(grammar: &str, parts: &[(&str, &str)]) -> Regex {
    let common = [
        ("QUOTED", r#""(?: [^"\\\x00] | \\[^\n\x00] )*""#),
        ("LNAME", r"[a-zA-Z_][a-zA-Z0-9_]*"),
        ("NAME", r"[a-zA-Z_:][a-zA-Z0-9_:]*"),
        (" V ", r" [^{\ \t\n]+ "),
        (" B", r" [\ \t]*"),
    ];
    let parts = parts.iter().chain(&common);
    let pattern = parts.fold(grammar.to_owned(), |grammar, (name, part)| {
        grammar.replace(name, &format!(" (?: {part} ) "))
    });
    Regex::new(&pattern).unwrap()
}

fn captures(regex: &Regex, body: &str, at: usize) -> Option<Captures> {
    let mut captures = regex.create_captures();
    let input = Input::new(body).range(at..).anchored(Anchored::Yes);
    regex.captures(input, &mut captures);
    captures.is_match().then_some(captures)
}

fn named<'a>(captures: &Captures, body: &'a str, name: &str) -> Option<&'a str> {
    captures.get_group_by_name(name).map(|span| &body[span])
}
