//! Reads the tokens that both text formats share.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::{ParseError, Place};

/// Maximum length of the excerpt in an error message, in bytes.
const EXCERPT: usize = 32;

/// Position in a text body.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    /// Set if the whole body is UTF-8. Saves a check of each label.
    utf8: bool,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        let utf8 = std::str::from_utf8(body).is_ok();
        Self { body, at: 0, utf8 }
    }

    /// Creates a cursor over a part of a body that was parsed before without an error.
    pub(super) fn over_validated(raw: &'a [u8]) -> Self {
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

    /// Returns the text between `start` and the current position.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.body[start..self.at]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    /// Reads `byte` and returns true. Reads nothing if another byte follows.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads `text` and returns true. Reads nothing if another text follows.
    pub(super) fn eat_text(&mut self, text: &[u8]) -> bool {
        let found = self.body[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Reads the text of a series, which was read before, and returns it. Reads nothing if
    /// another text follows, or if the text could go on.
    pub(super) fn take_series(&mut self, text: &[u8]) -> Option<&'a [u8]> {
        let rest = &self.body[self.at..];
        let (found, after) = rest.split_at_checked(text.len())?;
        if found != text {
            return None;
        }
        let is_whole = match text.last()? {
            b'}' => true,
            // A bare name ends before a space. Braces may follow the space.
            _ => matches!(after, [b' ', next, ..] if !matches!(next, b' ' | b'\t' | b'{')),
        };
        is_whole.then(|| {
            self.at += found.len();
            found
        })
    }

    /// Reads a keyword of a metadata line and returns true. Reads nothing if another text
    /// follows. Null bytes after a byte of the keyword are skipped, as in Prometheus.
    pub(super) fn eat_keyword(&mut self, keyword: &[u8]) -> bool {
        let start = self.at;
        for &byte in keyword {
            if !self.eat(byte) {
                self.at = start;
                return false;
            }
            self.skip_nulls();
        }
        true
    }

    /// Skips spaces and tabs.
    pub(super) fn skip_whitespace(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// Skips null bytes.
    pub(super) fn skip_nulls(&mut self) {
        self.take_while(|byte| byte == 0);
    }

    /// Skips spaces and tabs, and null bytes that follow the first of them.
    pub(super) fn skip_whitespace_and_nulls(&mut self) {
        if matches!(self.peek(), Some(b' ' | b'\t')) {
            self.take_while(|byte| matches!(byte, b' ' | b'\t' | 0));
        }
    }

    /// Skips the rest of the body.
    pub(super) fn skip_to_end(&mut self) {
        self.at = self.body.len();
    }

    /// Reads bytes while `of` returns true.
    pub(super) fn take_while(&mut self, mut of: impl FnMut(u8) -> bool) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let length = rest.iter().position(|&byte| !of(byte));
        let taken = &rest[..length.unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads up to the newline and leaves the newline unread.
    pub(super) fn take_line(&mut self) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let taken = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads a metric name. Returns an empty name if none follows.
    pub(super) fn take_metric_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| NAME[usize::from(byte)] || byte == b':')
    }

    /// Reads a label name. Returns an empty name if none follows.
    pub(super) fn take_label_name(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| NAME[usize::from(byte)])
    }

    /// Reads a quoted text and returns the text between its quotes, still escaped.
    ///
    /// Reads nothing and returns `None` if no quote follows, if the closing quote is
    /// missing, or if the text has a newline and `newlines` is false.
    ///
    /// As in Prometheus, null bytes between a backslash and the escaped byte are skipped.
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
            if rest[found] == b'"' {
                break;
            }
            let escaped = &rest[found + 1..];
            let nulls = count_nulls(escaped);
            if rest[found] == b'\n' || matches!(escaped.get(nulls), None | Some(b'\n')) {
                return None;
            }
            length += nulls + 2;
        }
        self.at += length + 2;
        Some(&inner[..length])
    }

    /// Reads a quoted label value, like [`Self::take_quoted`].
    ///
    /// As in Prometheus, null bytes after the closing quote belong to the token. The value
    /// then includes the quote, and all null bytes but the last one.
    pub(super) fn take_quoted_value(&mut self, newlines: bool) -> Option<&'a [u8]> {
        let start = self.at + 1;
        self.take_quoted(newlines)?;
        self.skip_nulls();
        Some(&self.body[start..self.at - 1])
    }

    /// Returns true if `text`, a part of the body, is UTF-8.
    pub(super) fn is_utf8(&self, text: &[u8]) -> bool {
        self.utf8 || std::str::from_utf8(text).is_ok()
    }

    /// Creates the error for a position where `expected` does not follow.
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

    /// Creates the error for `found`, which the cursor just read.
    #[cold]
    pub(super) fn unexpected(&self, found: &[u8], expected: &str) -> ParseError {
        self.error(format!("expected {expected}, found {}", quote(found)))
    }

    /// Creates an error for the current line.
    #[cold]
    pub(super) fn error(&self, message: String) -> ParseError {
        let line = 1 + memchr_iter(b'\n', &self.body[..self.at]).count();
        let place = Place::Line(line);
        ParseError { place, message }
    }
}

/// Returns the number of null bytes at the start of `text`.
fn count_nulls(text: &[u8]) -> usize {
    let end = text.iter().position(|&byte| byte != 0);
    end.unwrap_or(text.len())
}

/// Quotes `text` and truncates it to [`EXCERPT`] bytes.
fn quote(text: &[u8]) -> String {
    let (shown, more) = match text.get(..EXCERPT) {
        Some(shown) if text.len() > EXCERPT => (shown, "…"),
        _ => (text, ""),
    };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}

/// Bytes that a label name may contain. Digits are included, colons are not.
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
    fn a_quoted_text_ends_at_the_first_unescaped_quote() {
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
    fn takes_a_series_only_if_its_text_cannot_go_on() {
        let take = |body: &str, text: &str| {
            let mut cursor = Cursor::new(body.as_bytes());
            let taken = cursor.take_series(text.as_bytes()).is_some();
            assert_eq!(cursor.at(), if taken { text.len() } else { 0 });
            taken
        };
        assert!(take("a{b=\"c\"} 1\n", "a{b=\"c\"}"));
        assert!(take("a 1\n", "a"));
        assert!(!take("ab 1\n", "a"));
        assert!(!take("a {b=\"c\"} 1\n", "a"));
        assert!(!take("a  {b=\"c\"} 1\n", "a"));
        assert!(!take("a\t{b=\"c\"} 1\n", "a"));
        assert!(!take("a", "a"));
        assert!(!take("a{b=\"d\"} 1\n", "a{b=\"c\"}"));
        assert!(!take("a 1\n", ""));
        assert!(!take("", "a"));
    }

    #[test]
    fn an_error_names_its_line_and_truncates_a_long_text() {
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
