//! Go's `regexp/syntax` with its Perl flags, as far as `regexp.Compile` uses it.
//!
//! A single pass over the text without recursion: each open group is a [`Frame`]
//! that collects the items of its current branch and the branches before it. An
//! item is already a [`Node`], the compiler's tree and what Go's limits ask about.
//!
//! ```text
//! ^(?s:a|b(c{2})*)$
//!          └ frame 2: items c{2}            on ) becomes an item of frame 1
//!     └───── frame 1: branches a; items b   on ) becomes an item of frame 0
//! └───────── frame 0: items ^
//! ```
//!
//! What is known to differ from Go 1.26:
//! - The bounds on length, size and nesting are ours, and lower.
//! - Unicode is that of `regex-syntax`, a version or two newer.
//! - `\p{Old_Italic}` and other scripts of several words are known, as they were
//!   until Go 1.24.
//! - `\x{D800}`, a code point that is no character, matches nothing. In Go it
//!   matches U+FFFD where an expression begins with it.

use regex_syntax::hir::{Dot, Hir, Look};

use self::{cursor::Cursor, group::Frame, node::Node};
use super::error::SyntaxError;

mod class;
mod cursor;
mod escape;
mod group;
mod node;
mod repeat;
mod unicode;

/// An expression's tree and its groups.
#[derive(Debug)]
pub(super) struct Parsed {
    /// What it matches. Its groups have no names here, since in Go several may
    /// have the same.
    pub(super) hir: Hir,
    /// Name of each group, the whole match first.
    pub(super) groups: Vec<Option<String>>,
}

/// What `(?imsU)` sets.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    /// `i`: letters match in any case.
    fold_case: bool,
    /// `m`: `^` and `$` also match at line breaks.
    multi_line: bool,
    /// `s`: `.` also matches a line feed.
    dot_all: bool,
    /// `U`: `*` is lazy and `*?` greedy.
    swap_greed: bool,
}

struct Parser<'s> {
    cursor: Cursor<'s>,
    flags: Flags,
    /// Open groups, the outermost first; frame 0 is the expression itself.
    frames: Vec<Frame>,
    groups: Vec<Option<String>>,
    /// Where the repetition begins that the last item ended with, if it did.
    repetition: Option<usize>,
    /// Character ranges in all classes so far.
    ranges: usize,
    /// Where the group was closed that all of the expression is wrapped in.
    unwrapped: Option<usize>,
    /// The group, if any, that was closed by the parenthesis meant for that one.
    borrowed: Option<usize>,
}

/// Parses a whole expression, wrapped already.
pub(super) fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    let mut parser = Parser {
        cursor: Cursor::new(text),
        flags: Flags::default(),
        frames: vec![Frame::default()],
        groups: vec![None],
        repetition: None,
        ranges: 0,
        unwrapped: None,
        borrowed: None,
    };
    while let Some(c) = parser.cursor.peek() {
        parser.item(c)?;
    }
    parser.finish()
}

// === impl Parser ===

impl Parser<'_> {
    /// Reads what begins with `c`, the next character.
    fn item(&mut self, c: char) -> Result<(), SyntaxError> {
        let before = self.repetition.take();
        match c {
            '(' => self.open_group(),
            ')' => self.close_group(),
            '*' | '+' | '?' | '{' => self.repeat_or_brace(c, before),
            '\\' => self.escape(),
            '[' => {
                let class = self.bracketed_class()?;
                self.push_class(class)
            }
            '|' => {
                self.cursor.bump();
                self.frame().end_branch();
                Ok(())
            }
            _ => {
                self.cursor.bump();
                self.single(c)
            }
        }
    }

    /// Adds what `c` means by itself.
    fn single(&mut self, c: char) -> Result<(), SyntaxError> {
        let Flags {
            multi_line,
            dot_all,
            ..
        } = self.flags;
        let hir = match c {
            '^' if multi_line => Hir::look(Look::StartLF),
            '^' => Hir::look(Look::Start),
            '$' if multi_line => Hir::look(Look::EndLF),
            '$' => Hir::look(Look::End),
            '.' if dot_all => Hir::dot(Dot::AnyChar),
            '.' => Hir::dot(Dot::AnyCharExceptLF),
            _ => return self.push_literal(u32::from(c)),
        };
        self.push(Node::leaf(hir), self.cursor.at())
    }

    /// Adds an item that began at `start` to the current branch.
    fn push(&mut self, node: Node, start: usize) -> Result<(), SyntaxError> {
        let node = self.checked(node, start)?;
        self.frame().push(node);
        Ok(())
    }

    fn checked(&self, node: Node, start: usize) -> Result<Node, SyntaxError> {
        if node.is_too_deep() {
            return Err(SyntaxError::new(
                "expression nests too deeply",
                self.cursor.span(start),
                node::DEPTH_EXPECTED,
            ));
        }
        Ok(node)
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames
            .last_mut()
            .expect("frame 0 is only taken at the end")
    }

    fn finish(mut self) -> Result<Parsed, SyntaxError> {
        if self.frames.len() > 1 {
            return Err(self.unclosed());
        }
        let whole = std::mem::take(self.frame()).finish();
        Ok(Parsed {
            hir: self.checked(whole, 0)?.into_hir(),
            groups: self.groups,
        })
    }
}
