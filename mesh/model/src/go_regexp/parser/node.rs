//! A part of an expression, with what Go's limits ask about.

use regex_syntax::hir::{Capture, Hir, Repetition};

/// Levels that groups, repetitions, branches and sequences may nest to.
///
/// Go allows 1000. The compiler recurses, and on the 2 MiB stack of a worker thread
/// there must be room left in a debug build too; rules of more than ten are rare.
const MAX_DEPTH: u16 = 100;
/// How [`MAX_DEPTH`] is told.
pub(super) const DEPTH_EXPECTED: &str = "at most 100 levels of groups and repetitions";
/// Copies of its innermost part that nested counted repetitions may make.
const MAX_COPIES: u32 = 1000;

/// A part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    hir: Hir,
    /// Product of the nested counted repetitions, where it is largest.
    copies: u32,
    /// Levels below and including this one.
    depth: u16,
}

/// How often a part is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// At least.
    pub(super) min: u32,
    /// At most.
    pub(super) max: Option<u32>,
    /// Whether it was written `{min,max}`, which [`MAX_COPIES`] is about.
    pub(super) counted: bool,
}

// === impl Node ===

impl Node {
    /// A part without parts of its own.
    pub(super) fn leaf(hir: Hir) -> Self {
        Self {
            hir,
            copies: 1,
            depth: 1,
        }
    }

    /// One after the other.
    pub(super) fn sequence(items: Vec<Self>) -> Self {
        Self::join(items, Hir::concat)
    }

    /// One or the other, the earlier preferred.
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

    /// The group of this index.
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

    /// This part, repeated.
    pub(super) fn repeat(self, count: Count, greedy: bool) -> Self {
        let copies = match count {
            Count { counted: false, .. } => self.copies,
            // Nothing of it is left, so nothing of it can be multiplied.
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

    /// Whether nested counted repetitions make more copies than Go allows.
    pub(super) fn is_too_often(&self) -> bool {
        self.copies > MAX_COPIES
    }

    /// Whether it nests deeper than allowed.
    pub(super) fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    pub(super) fn into_hir(self) -> Hir {
        self.hir
    }
}
