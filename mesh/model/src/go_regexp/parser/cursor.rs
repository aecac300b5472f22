//! A place in a text.

use std::ops::Range;

/// A text and how far it has been read.
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

    /// The byte that is read next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    /// The next character, which stays unread.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads `expected` where it comes next.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Reads up to `end` and `end` itself; nothing where there is none.
    pub(super) fn eat_until(&mut self, end: &str) -> Option<&'s str> {
        let (before, _) = self.rest().split_once(end)?;
        self.at += before.len() + end.len();
        Some(before)
    }

    /// Reads all that is left.
    pub(super) fn eat_rest(&mut self) -> &'s str {
        let rest = self.rest();
        self.at = self.text.len();
        rest
    }

    /// From `start` to what is read next.
    pub(super) fn span(&self, start: usize) -> Range<usize> {
        start..self.at
    }

    /// The text from `start` to what is read next.
    pub(super) fn since(&self, start: usize) -> &'s str {
        &self.text[start..self.at]
    }
}
