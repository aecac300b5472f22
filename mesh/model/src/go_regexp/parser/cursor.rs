//! A read position in a text.

use std::ops::Range;

/// A text with the position of the next character.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'s> {
    text: &'s str,
    at: usize,
}

// === impl Cursor ===

impl<'s> Cursor<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the position of the next character in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the unread text.
    pub(super) fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    /// Returns the next character without reading it.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads `expected` if it is next. Returns true in that case.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Reads up to and including `end`, and returns the text before `end`. Reads nothing if
    /// there is no `end`.
    pub(super) fn eat_until(&mut self, end: &str) -> Option<&'s str> {
        let (before, _) = self.rest().split_once(end)?;
        self.at += before.len() + end.len();
        Some(before)
    }

    /// Reads the rest of the text.
    pub(super) fn eat_rest(&mut self) -> &'s str {
        let rest = self.rest();
        self.at = self.text.len();
        rest
    }

    /// Returns the range from `start` to the position.
    pub(super) fn span(&self, start: usize) -> Range<usize> {
        start..self.at
    }

    /// Returns the text from `start` to the position.
    pub(super) fn since(&self, start: usize) -> &'s str {
        &self.text[start..self.at]
    }
}
