//! Parses the syntax of Go's `regexp.Compile`: `regexp/syntax` with its Perl flags.
//!
//! The parser makes a single pass over the text without recursion. Each open group is a
//! [`Frame`], which collects the items of its current branch and the finished branches. An item
//! is a [`Node`]: the compiler's tree, with the numbers that Go's limits apply to.
//!
//! ```text
//! ^(?s:a|b(c{2})*)$
//!          └ frame 2: items c{2}            on ) becomes an item of frame 1
//!     └───── frame 1: branches a; items b   on ) becomes an item of frame 0
//! └───────── frame 0: items ^
//! ```
//!
//! Known differences from Go 1.26:
//! - The limits on length, size and nesting are lower.
//! - The Unicode version is that of `regex-syntax`, one or two versions newer.
//! - `\p{Old_Italic}` and other scripts of several words are supported, as they were until
//!   Go 1.24.
//! - `\x{D800}`, a surrogate, matches nothing. In Go it matches U+FFFD at the beginning of an
//!   expression.

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

/// A parsed expression.
#[derive(Debug)]
pub(super) struct Parsed {
    /// Tree for the compiler. Its groups have no names, since in Go several groups can have
    /// the same name.
    pub(super) hir: Hir,
    /// Name of each group. Group 0 is the whole match.
    pub(super) groups: Vec<Option<String>>,
}

/// Flags that `(?imsU)` sets.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    /// `i`: letters match in any case.
    fold_case: bool,
    /// `m`: `^` and `$` also match at line breaks.
    multi_line: bool,
    /// `s`: `.` also matches a line feed.
    dot_all: bool,
    /// `U`: `*` is lazy and `*?` is greedy.
    swap_greed: bool,
}

struct Parser<'s> {
    cursor: Cursor<'s>,
    flags: Flags,
    /// Open groups, outermost first. Frame 0 is the expression itself.
    frames: Vec<Frame>,
    groups: Vec<Option<String>>,
    /// Start of the repetition operator that ended the last item, if any.
    repetition: Option<usize>,
    /// Number of character ranges in all classes so far.
    ranges: usize,
    /// Position of the parenthesis that closed the wrapper's group, if inside the expression.
    unwrapped: Option<usize>,
    /// Start of the group that the wrapper's closing parenthesis closed, if any.
    borrowed: Option<usize>,
}

/// Parses a wrapped expression.
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
    /// Parses the item that begins with `c`, the next character.
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

    /// Adds an item of the single character `c`.
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

    /// Adds an item to the current branch. `start` is its position, for error messages.
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
