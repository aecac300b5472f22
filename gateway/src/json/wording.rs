//! Words the errors of the JSON library for users, who know JSON but not the library.

/// Descriptions of the library, and those for users.
const WORDS: [(&str, &str); 10] = [
    ("EOF while parsing a list", "the body ends within an array"),
    (
        "EOF while parsing an object",
        "the body ends within an object",
    ),
    (
        "EOF while parsing a string",
        "the body ends within a string",
    ),
    ("EOF while parsing a value", "the body ends before a value"),
    ("expected ident", "expected true, false or null"),
    ("expected value", "expected a JSON value"),
    ("recursion limit exceeded", "nested too deeply"),
    ("trailing characters", "text after the end of the JSON"),
    (
        "invalid unicode code point",
        "a \\u escape that is no character",
    ),
    ("unexpected end of hex escape", "an incomplete \\u escape"),
];

/// Describes an error: what was found and expected, with its line and column.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let (text, place) = match text.strip_suffix(&place) {
        Some(text) => (text, &*place),
        None => (&*text, ""),
    };
    let known = WORDS.iter().find(|(theirs, _)| *theirs == text);
    let worded = match known {
        Some((_, ours)) => (*ours).to_owned(),
        None => found_and_expected(text),
    };
    format!("{worded}{place}")
}

/// Rewords `invalid type: map, expected a sequence` to `found an object, expected an array`.
fn found_and_expected(text: &str) -> String {
    let found = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let Some((found, expected)) = found.and_then(|found| found.rsplit_once(", expected ")) else {
        return text.to_owned();
    };
    let word = |word| match word {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "an array",
        other => other,
    };
    format!("found {}, expected {}", word(found), word(expected))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn errors_use_words_of_json() {
        let is = |json: &str, want: &str| {
            let read = serde_json::from_str::<BTreeMap<String, Vec<String>>>(json);
            assert_eq!(describe(&read.unwrap_err()), want, "{json}");
        };
        is(
            "[]",
            "found an array, expected an object at line 1 column 0",
        );
        is(
            r#"{"a":{}}"#,
            "found an object, expected an array at line 1 column 5",
        );
        is(
            r#"{"a":[{}]}"#,
            "found an object, expected a string at line 1 column 6",
        );
        is(
            r#"{"a":["#,
            "the body ends within an array at line 1 column 6",
        );
        is(
            r#"{"a":nux}"#,
            "expected true, false or null at line 1 column 8",
        );
        is("{} x", "text after the end of the JSON at line 1 column 4");
        is("", "the body ends before a value at line 1 column 0");
    }
}
