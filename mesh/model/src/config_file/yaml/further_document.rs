//! Finds a second YAML document in a file, which Go's YAML library does not read.

use std::path::Path;

use crate::config::{ConfigWarning, Place};

/// Warns of content after the first document of `text`, the content of the file at `path`.
pub(in crate::config_file) fn ignored_document(text: &str, path: &Path) -> Option<ConfigWarning> {
    let line = second_document(text)?;
    Some(ConfigWarning {
        place: Place::new(path, Some((line, 1))),
        message: "a second YAML document begins here and is ignored, as in Prometheus; remove the line --- before it, or move it to a file of its own"
            .to_owned(),
    })
}

/// Returns the line at which the second document's content begins.
fn second_document(text: &str) -> Option<u64> {
    let mut is_open = false;
    let mut has_ended = false;
    for (line, number) in text.lines().zip(1..) {
        // A line that begins with a marker is one wherever it is, even within a quoted text.
        let (starts, rest) = match (marker(line, "---"), marker(line, "...")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => {
                has_ended |= is_open;
                (false, rest)
            }
            (None, None) => (false, line),
        };
        has_ended |= starts && is_open;
        let rest = rest.trim_start();
        let is_content = !(rest.is_empty() || rest.starts_with('#') || line.starts_with('%'));
        if has_ended && is_content {
            return Some(number);
        }
        is_open |= starts || is_content;
    }
    None
}

/// Returns what follows `marker` if the line begins with it.
fn marker<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(marker)?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\r'])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::second_document;

    #[test]
    fn finds_content_after_the_first_document() {
        for (text, line) in [
            ("a: 1\n", None),
            ("# c\n---\na: 1\n", None),
            ("%YAML 1.1\n---\na: 1\n", None),
            ("--- {a: 1}\n", None),
            ("a: 1\n---\n", None),
            ("a: 1\n...\n", None),
            ("a: 1\n---\n# nothing\n\n---\n", None),
            ("a: |\n  ---\n  b\n", None),
            ("---a: 1\n", None),
            ("a: 1\n---\nb: 2\n", Some(3)),
            ("a: 1\r\n---\r\nb: 2\r\n", Some(3)),
            ("a: 1\n--- {b: 2}\n", Some(2)),
            ("a: 1\n...\nb: 2\n", Some(3)),
            ("---\n---\nb: 2\n", Some(3)),
            ("a: 1\n---\n\n# c\nb: 2\n---\nd: 3\n", Some(5)),
        ] {
            assert_eq!(second_document(text), line, "{text:?}");
        }
    }
}
