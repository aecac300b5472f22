//! A position in a text body, and what both text formats read in the same way.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::{ParseError, Place};

/// How much of an unexpected text an error shows, in bytes.
const EXCERPT: usize = 32;

/// A position in a body.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    /// Whether all of the body is UTF-8. Known once, it saves a check per label.
    utf8: bool,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        let utf8 = std::str::from_utf8(body).is_ok();
        Self { body, at: 0, utf8 }
    }

    /// A cursor over a part of a body that was already found to be good.
    pub(super) fn over_series(raw: &'a [u8]) -> Self {
        let utf8 = true;
        Self {
            body: raw,
            at: 0,
            utf8,
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What was read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.body[start..self.at]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    /// Reads `byte`, or nothing where something else follows.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads `text`, or nothing where something else follows.
    pub(super) fn eat_text(&mut self, text: &[u8]) -> bool {
        let found = self.body[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Reads blanks and tabs, if any.
    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    pub(super) fn take_while(&mut self, mut of: impl FnMut(u8) -> bool) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let length = rest.iter().position(|&byte| !of(byte));
        let taken = &rest[..length.unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads up to the end of the line, which is left.
    pub(super) fn take_line(&mut self) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let taken = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads a metric name, the empty one where none follows.
    pub(super) fn take_metric_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| NAME[usize::from(byte)] || byte == b':')
    }

    /// Reads a label name, the empty one where none follows.
    pub(super) fn take_label_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| NAME[usize::from(byte)])
    }

    /// Reads a quoted text and returns what is between its quotes, still
    /// escaped. Reads nothing where no quote follows or it is never closed, and
    /// where it holds a newline without `newlines`.
    pub(super) fn take_quoted(&mut self, newlines: bool) -> Option<&'a [u8]> {
        let inner = self.body[self.at..].strip_prefix(b"\"")?;
        let mut length = 0;
        loop {
            let rest = &inner[length..];
            let found = if newlines {
                memchr2(b'"', b'\\', rest)
            } else {
                memchr3(b'"', b'\\', b'\n', rest)
            }?;
            length += found;
            match rest[found] {
                b'"' => break,
                b'\\' if !matches!(rest.get(found + 1), None | Some(b'\n')) => length += 2,
                _ => return None,
            }
        }
        self.at += length + 2;
        Some(&inner[..length])
    }

    /// Whether `text`, a part of the body, is UTF-8.
    pub(super) fn is_utf8(&self, text: &[u8]) -> bool {
        self.utf8 || std::str::from_utf8(text).is_ok()
    }

    /// The error of not finding what was `expected` here.
    #[cold]
    pub(super) fn expected(&self, expected: &str) -> ParseError {
        let rest = &self.body[self.at..];
        let found = match rest {
            [] => "the end of the body".to_owned(),
            [b'\n', ..] => "the end of the line".to_owned(),
            _ => quote(&rest[..memchr(b'\n', rest).unwrap_or(rest.len())]),
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    /// The error of finding `found`, which was just read.
    #[cold]
    pub(super) fn unexpected(&self, found: &[u8], expected: &str) -> ParseError {
        self.error(format!("expected {expected}, found {}", quote(found)))
    }

    #[cold]
    pub(super) fn error(&self, message: String) -> ParseError {
        let line = 1 + memchr_iter(b'\n', &self.body[..self.at]).count();
        let place = Place::Line(line);
        ParseError { place, message }
    }
}

/// The start of `text` in quotes.
fn quote(text: &[u8]) -> String {
    let (shown, more) = match text.get(..EXCERPT) {
        Some(shown) if text.len() > EXCERPT => (shown, "…"),
        _ => (text, ""),
    };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}

/// The bytes of names, digits included, colons not.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_ends_at_the_first_quote_that_is_not_escaped() {
        let read = |body: &'static str, newlines| {
            let mut cursor = Cursor::new(body.as_bytes());
            (cursor.take_quoted(newlines), cursor.at())
        };
        assert_eq!(read(r#""a\"b" c"#, true), (Some(&br#"a\"b"#[..]), 6));
        assert_eq!(read(r#""a\\" c"#, true), (Some(&br"a\\"[..]), 5));
        assert_eq!(read("\"a\nb\"", true), (Some(&b"a\nb"[..]), 5));
        assert_eq!(read("\"a\nb\"", false), (None, 0));
        assert_eq!(read("\"a\\\nb\"", true), (None, 0));
        assert_eq!(read(r#""a"#, true), (None, 0));
        assert_eq!(read(r#""a\"#, true), (None, 0));
        assert_eq!(read("a", true), (None, 0));
    }

    #[test]
    fn an_error_tells_its_line_and_shows_little_of_a_long_text() {
        let body = format!("a 1\n{}\n", "é".repeat(1000));
        let mut cursor = Cursor::new(body.as_bytes());
        cursor.take_line();
        cursor.bump();
        let error = cursor.expected("a name").to_string();
        assert!(
            error.starts_with("line 2: expected a name, found \"éé"),
            "{error}"
        );
        assert!(error.len() < 100, "{error}");
    }
}
