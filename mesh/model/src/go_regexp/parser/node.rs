//! A part of an expression, with the numbers that Go's limits apply to.

use regex_syntax::hir::{Capture, Hir, Repetition};

/// Maximum nesting depth of groups, repetitions, branches and sequences.
///
/// Go allows 1000 levels. The compiler recurses, and it must not overflow the 2 MiB stack of a
/// worker thread, even in a debug build. Rules with more than ten levels are rare.
const MAX_DEPTH: u16 = 100;
/// Description of [`MAX_DEPTH`] in error messages.
pub(super) const DEPTH_EXPECTED: &str = "at most 100 levels of groups and repetitions";
/// Maximum number of copies of one part that nested counted repetitions make.
const MAX_COPIES: u32 = 1000;

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    hir: Hir,
    /// Largest product of nested counted repetitions.
    copies: u32,
    /// Number of levels, including this one.
    depth: u16,
}

/// Count of a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Minimum.
    pub(super) min: u32,
    /// Maximum, or `None` for no limit.
    pub(super) max: Option<u32>,
    /// True if written with braces. [`MAX_COPIES`] applies only to those.
    pub(super) counted: bool,
}

// === impl Node ===

impl Node {
    /// Returns a node without children.
    pub(super) fn leaf(hir: Hir) -> Self {
        Self {
            hir,
            copies: 1,
            depth: 1,
        }
    }

    /// Returns a node that matches `items` in sequence.
    pub(super) fn sequence(items: Vec<Self>) -> Self {
        Self::join(items, Hir::concat)
    }

    /// Returns a node that matches one of `branches` and prefers earlier ones.
    pub(super) fn branches(branches: Vec<Self>) -> Self {
        Self::join(branches, Hir::alternation)
    }

    fn join(mut parts: Vec<Self>, join: fn(Vec<Hir>) -> Hir) -> Self {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let copies = parts.iter().map(|part| part.copies).max().unwrap_or(1);
        let depth = parts.iter().map(|part| part.depth).max().unwrap_or(0);
        Self {
            hir: join(parts.into_iter().map(|part| part.hir).collect()),
            copies,
            depth: depth + 1,
        }
    }

    /// Wraps the node in the capturing group `index`.
    pub(super) fn group(self, index: u32) -> Self {
        Self {
            hir: Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(self.hir),
            }),
            copies: self.copies,
            depth: self.depth + 1,
        }
    }

    /// Repeats the node.
    pub(super) fn repeat(self, count: Count, greedy: bool) -> Self {
        let copies = match count {
            Count { counted: false, .. } => self.copies,
            // The part is removed, so an outer repetition does not multiply it.
            Count { max: Some(0), .. } => 1,
            Count { min, max, .. } => self.copies.saturating_mul(max.unwrap_or(min).max(1)),
        };
        Self {
            hir: Hir::repetition(Repetition {
                min: count.min,
                max: count.max,
                greedy,
                sub: Box::new(self.hir),
            }),
            copies,
            depth: self.depth + 1,
        }
    }

    /// Returns true if nested counted repetitions make more copies than Go allows.
    pub(super) fn has_too_many_copies(&self) -> bool {
        self.copies > MAX_COPIES
    }

    /// Returns true if the node exceeds [`MAX_DEPTH`].
    pub(super) fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    pub(super) fn into_hir(self) -> Hir {
        self.hir
    }
}
