//! Targets of which batches are held back here, and what the others say of each.
//!
//! Older batches of such a target may wait in any receiver that scraped it before it
//! was claimed here. Whoever has been asked since and has none will have none: what it
//! scrapes from now on is later. Of the others the last word counts once they do not
//! answer.

use std::collections::BTreeMap;

/// Targets of which batches are held back.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<u64, Hold>);

/// One of them.
#[derive(Debug)]
pub(super) struct Hold {
    /// When the target was claimed, in milliseconds since the Unix epoch; of one that an
    /// earlier process has left, just before the oldest batch.
    began_ms: i64,
    /// An earlier process has left some of them: their lane waits for its Exports already.
    is_fenced: bool,
    /// What each other receiver has said last.
    words: BTreeMap<String, Word>,
}

/// What another receiver says of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing older is there.
    Clear,
    /// Batches wait, the oldest of this time.
    Waiting(i64),
}

// === impl Holds ===

impl Holds {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    /// Holds a target back. Where it was before, the earlier claim counts.
    pub(super) fn insert(&mut self, target: u64, mut hold: Hold) {
        if let Some(before) = self.0.get(&target) {
            hold.began_ms = before.began_ms.min(hold.began_ms);
            hold.is_fenced |= before.is_fenced;
        }
        self.0.insert(target, hold);
    }

    pub(super) fn remove(&mut self, target: u64) -> Option<Hold> {
        self.0.remove(&target)
    }
}

// === impl Hold ===

impl Hold {
    pub(super) fn new(began_ms: i64) -> Self {
        Self {
            began_ms,
            is_fenced: false,
            words: BTreeMap::new(),
        }
    }

    /// Of a target of which an earlier process has left batches.
    pub(super) fn of_left(oldest_ms: i64) -> Self {
        Self {
            is_fenced: true,
            ..Self::new(oldest_ms - 1)
        }
    }

    /// Whether the Exports of an earlier process of this receiver are waited for anyway.
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Takes up what one says.
    pub(super) fn hear(&mut self, name: &str, word: Word) {
        match self.words.get_mut(name) {
            Some(Word::Clear) => {}
            Some(before) => *before = word,
            None => {
                self.words.insert(name.to_owned(), word);
            }
        }
    }

    pub(super) fn word(&self, name: &str) -> Option<Word> {
        self.words.get(name).copied()
    }

    /// The time after which batches wait for those of one that may have older ones.
    pub(super) fn oldest_ms(&self, name: &str) -> i64 {
        match self.word(name) {
            Some(Word::Waiting(oldest_ms)) => oldest_ms,
            _ => self.began_ms,
        }
    }

    /// When the target was claimed, in milliseconds since the Unix epoch.
    pub(super) fn began_ms(&self) -> i64 {
        self.began_ms
    }
}
