//! Parses groups: `(..)`, `(?P<name>..)`, `(?<name>..)`, `(?flags:..)` and `(?flags)`.

use super::{Flags, Parser, node::Node};
use crate::go_regexp::error::{PREFIX, SUFFIX, SyntaxError};

/// An open group.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Position of the opening parenthesis.
    start: usize,
    /// Index of a capturing group.
    capture: Option<u32>,
    /// Flags to restore at the end of the group.
    outer: Flags,
    /// Finished branches.
    branches: Vec<Node>,
    /// Items of the current branch.
    items: Vec<Node>,
}

// === impl Frame ===

impl Frame {
    pub(super) fn push(&mut self, node: Node) {
        self.items.push(node);
    }

    /// Removes the last item of the current branch, for a repetition.
    pub(super) fn pop(&mut self) -> Option<Node> {
        self.items.pop()
    }

    /// Ends the current branch and begins the next.
    pub(super) fn end_branch(&mut self) {
        let items = std::mem::take(&mut self.items);
        self.branches.push(Node::sequence(items));
    }

    /// Combines the branches of the group into one node.
    pub(super) fn finish(mut self) -> Node {
        self.end_branch();
        let node = Node::branches(self.branches);
        match self.capture {
            Some(index) => node.group(index),
            None => node,
        }
    }
}

// === impl Parser ===

impl Parser<'_> {
    /// Parses the start of a group, from `(`.
    pub(super) fn open_group(&mut self) -> Result<(), SyntaxError> {
        let start = self.cursor.at();
        self.cursor.bump();
        if !self.cursor.eat("?") {
            self.open_capture(start, None);
            return Ok(());
        }
        if self.cursor.eat("P<") || self.cursor.eat("<") {
            let name = self.group_name(start)?;
            self.open_capture(start, Some(name));
            return Ok(());
        }
        self.open_flags(start)
    }

    fn open_capture(&mut self, start: usize, name: Option<String>) {
        // There are fewer groups than bytes, and the length is limited.
        let index = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(name);
        self.open(start, Some(index));
    }

    fn open(&mut self, start: usize, capture: Option<u32>) {
        self.frames.push(Frame {
            start,
            capture,
            outer: self.flags,
            ..Frame::default()
        });
    }

    fn group_name(&mut self, start: usize) -> Result<String, SyntaxError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = self.cursor.eat_until(">");
        if let Some(name) = name
            && !name.is_empty()
            && name.chars().all(word)
        {
            return Ok(name.to_owned());
        }
        if name.is_none() {
            self.cursor.eat_rest();
        }
        Err(SyntaxError::new(
            "invalid named capture",
            self.cursor.span(start),
            "a name of ASCII letters, digits and underscores between < and >",
        ))
    }

    /// Parses flags after `(?`. They end with `:`, which opens a group, or with `)`, which
    /// does not.
    fn open_flags(&mut self, start: usize) -> Result<(), SyntaxError> {
        let (mut flags, mut on, mut dangling) = (self.flags, true, false);
        while let Some(c) = self.cursor.bump() {
            match c {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_all = on,
                'U' => flags.swap_greed = on,
                '-' if on => (on, dangling) = (false, true),
                ':' | ')' if !dangling => {
                    if c == ':' {
                        self.open(start, None);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            dangling &= c == '-';
        }
        Err(SyntaxError::new(
            "invalid or unsupported Perl syntax",
            self.cursor.span(start),
            "(?:, (?P<name>, (?<name> or flags of i, m, s, U and then : or )",
        ))
    }

    /// Parses `)`.
    pub(super) fn close_group(&mut self) -> Result<(), SyntaxError> {
        let at = self.cursor.at();
        self.cursor.bump();
        let group = match self.frames.pop() {
            Some(group) if !self.frames.is_empty() => group,
            _ => return Err(self.unopened(at)),
        };
        let wrapper = group.start < PREFIX.len();
        if wrapper {
            self.unwrapped = Some(at);
        } else if self.cursor.rest() == &SUFFIX[1..] {
            self.borrowed = Some(group.start);
        }
        self.flags = group.outer;
        let start = group.start;
        self.push(group.finish(), start)
    }

    /// Returns the error for the unmatched `)` at `at`. If an earlier `)` closed the wrapper's
    /// group, that one is the mistake.
    fn unopened(&self, at: usize) -> SyntaxError {
        let at = self.unwrapped.unwrap_or(at);
        SyntaxError::new("unexpected )", at..at + 1, "a ( before it")
    }

    /// Returns the error for the innermost open group. If that is the wrapper's group, its
    /// parenthesis closed another group or is part of a quote.
    pub(super) fn unclosed(&self) -> SyntaxError {
        let innermost = self.frames.last().map_or(0, |frame| frame.start);
        let inner = (innermost >= PREFIX.len()).then_some(innermost);
        let (start, expected) = match inner.or(self.borrowed) {
            Some(start) => (start, "a ) for this ("),
            None => (
                0,
                "a ) for each (, an \\E for each \\Q, and no \\ at the end",
            ),
        };
        SyntaxError::new("missing closing )", self.cursor.span(start), expected)
    }
}
