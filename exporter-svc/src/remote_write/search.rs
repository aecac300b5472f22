//! Search for the refused items of a request that the backend refuses as a whole.
//!
//! The search tries blocks of items from left to right. So the items before
//! [`Search::next`] are decided, and the others are not. An item counts as refused only
//! after the backend has refused it alone.
//!
//! - A refused block contains a refused item; its first half comes next.
//! - After an accepted half, half of the other half comes next. It contains the item.
//! - After a refused item, all remaining items come next. If several were refused, a block
//!   has as many items as there were for each refused one, and the next block has more.

use std::ops::Range;

/// State of a search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Index of the first item that is not decided.
    next: usize,
    /// Number of items.
    len: usize,
    /// End of a range from `next` that contains a refused item.
    suspects: Option<usize>,
    /// Decided items and refused ones among them, earlier searches included.
    counts: Counts,
    /// Number of blocks that were accepted since the last refused item.
    accepted: u32,
}

/// Numbers of decided items, and of refused ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of decided items.
    pub decided: usize,
    /// Number of refused items.
    pub refused: usize,
}

// === impl Search ===

impl Search {
    /// Begins a search among `len` items. `before` has the counts of earlier searches among
    /// similar items.
    pub fn new(len: usize, before: Counts) -> Self {
        Self {
            next: 0,
            len,
            suspects: None,
            counts: before,
            accepted: 0,
        }
    }

    /// Begins a search among `len` items of which at least one is refused.
    pub fn among_refused(len: usize) -> Self {
        Self {
            suspects: Some(len),
            ..Self::new(len, Counts::default())
        }
    }

    /// Index of the first item that is not decided.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Block to try next; `None` once all items are decided.
    pub fn block(&self) -> Option<Range<usize>> {
        if self.next == self.len {
            return None;
        }
        let Counts { decided, refused } = self.counts;
        // One refused item says nothing about their frequency.
        let usual =
            (refused > 1).then(|| (decided / refused).max(1) << (2 * self.accepted).min(30));
        let at_most = match self.suspects {
            Some(end) => ((end - self.next) / 2).max(1),
            None => self.len - self.next,
        };
        let size = at_most.min(usual.unwrap_or(at_most));
        Some(self.next..self.next + size)
    }

    /// Records that the items up to `end` were accepted.
    pub fn accept(&mut self, end: usize) {
        self.counts.decided += end - self.next;
        self.accepted += 1;
        self.next = end;
        self.suspects = self.suspects.filter(|suspects| *suspects > end);
    }

    /// Records that the items up to `end` were refused together. Returns the index of the
    /// refused item if it was a single one.
    pub fn refuse(&mut self, end: usize) -> Option<usize> {
        if end - self.next > 1 {
            self.suspects = Some(end);
            return None;
        }
        self.counts.decided += 1;
        self.counts.refused += 1;
        self.accepted = 0;
        self.next = end;
        self.suspects = None;
        Some(end - 1)
    }

    /// Records that the next items were too large together, which says nothing about any of
    /// them.
    pub fn forget_suspects(&mut self) {
        self.suspects = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a search with at most `posts` posts. Returns the refused items and the number of
    /// posts.
    fn run(search: &mut Search, bad: &[usize], posts: usize) -> (Vec<usize>, usize) {
        let mut refused = Vec::new();
        for used in 0..posts {
            let Some(block) = search.block() else {
                return (refused, used);
            };
            if bad.iter().any(|item| block.contains(item)) {
                refused.extend(search.refuse(block.end));
            } else {
                search.accept(block.end);
            }
        }
        (refused, posts)
    }

    #[test]
    fn finds_one_refused_item_among_ten_thousand_with_few_posts() {
        for bad in [0, 1, 4_999, 5_000, 9_998, 9_999] {
            let mut search = Search::among_refused(10_000);
            let (refused, posts) = run(&mut search, &[bad], 100);
            assert_eq!(refused, [bad]);
            // The refused post of all items comes in addition.
            assert!(posts <= 19, "{bad}: {posts}");
        }
    }

    #[test]
    fn decides_one_item_per_post_if_all_are_refused() {
        let all: Vec<_> = (0..1000).collect();
        let mut search = Search::among_refused(1000);
        let (first, _) = run(&mut search, &all, 19);
        assert!(!first.is_empty());
        let (second, _) = run(&mut search, &all, 20);
        assert!(first.len() + second.len() >= 20, "{first:?} {second:?}");
        let before = Counts {
            decided: 20,
            refused: 20,
        };
        let mut later = Search::new(980, before);
        assert_eq!(run(&mut later, &all, 20).0.len(), 20);
    }

    #[test]
    fn accepts_all_items_with_one_post() {
        let mut search = Search::new(10, Counts::default());
        assert_eq!(run(&mut search, &[], 100), (vec![], 1));
        assert_eq!(search.next(), 10);
    }

    proptest! {
        #[test]
        fn refuses_exactly_the_refused_items(
            len in 1usize..300,
            bad in prop::collection::btree_set(0usize..300, 0..40),
        ) {
            let bad: Vec<_> = bad.into_iter().filter(|item| *item < len).collect();
            let mut search = match bad.is_empty() {
                true => Search::new(len, Counts::default()),
                false => Search::among_refused(len),
            };
            let (refused, _) = run(&mut search, &bad, 10_000);
            prop_assert_eq!(refused, bad);
            prop_assert_eq!(search.next(), len);
        }
    }
}
