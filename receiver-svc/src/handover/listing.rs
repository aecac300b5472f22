//! Receivers that discovery lists, and receivers that are known from hearsay only.
//!
//! A name that only peers have mentioned counts for the away timeout after it was heard first,
//! however often it is repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

/// Receivers by the way in which this one knows them.
#[derive(Debug)]
pub(super) struct Listing {
    window: Duration,
    /// Time at which discovery has listed each receiver last.
    listed: BTreeMap<String, Instant>,
    hearsay: BTreeMap<String, Hearsay>,
}

/// Times at which peers have mentioned a name.
#[derive(Debug)]
struct Hearsay {
    first: Instant,
    last: Instant,
}

/// Time without mention after which hearsay is forgotten.
const HEARSAY_TTL: Duration = Duration::from_secs(600);
/// Maximum number of names from hearsay. Further ones do not count.
const MAX_HEARSAY: usize = 1000;

// === impl Listing ===

impl Listing {
    /// Creates a listing in which names count for `window` after they were listed or heard.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            listed: BTreeMap::new(),
            hearsay: BTreeMap::new(),
        }
    }

    /// Records the names that discovery lists now. An authenticated receiver that this one has
    /// heard from counts as listed, too.
    pub(super) fn record<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let now = Instant::now();
        for name in names {
            self.hearsay.remove(name);
            match self.listed.get_mut(name) {
                Some(last) => *last = now,
                None => {
                    self.listed.insert(name.to_owned(), now);
                }
            }
        }
        let window = self.window;
        self.listed.retain(|_, last| last.elapsed() < window);
        self.hearsay.retain(|_, it| it.last.elapsed() < HEARSAY_TTL);
    }

    /// Returns true if discovery lists the receiver, or has listed it within the window.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.listed.contains_key(name)
    }

    /// All receivers that discovery lists, or has listed within the window.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.listed.keys().cloned().collect()
    }

    /// Records that a peer has mentioned a receiver. Returns true if the receiver counts: it is
    /// listed, or was heard of first within the window.
    pub(super) fn hear(&mut self, name: &str) -> bool {
        if self.contains(name) {
            return true;
        }
        let now = Instant::now();
        if let Some(known) = self.hearsay.get_mut(name) {
            known.last = now;
            return known.first.elapsed() < self.window;
        }
        let has_room = self.hearsay.len() < MAX_HEARSAY;
        if has_room {
            let hearsay = Hearsay {
                first: now,
                last: now,
            };
            self.hearsay.insert(name.to_owned(), hearsay);
        }
        has_room
    }

    /// Returns true if the receiver is listed, or was heard of first within the window.
    pub(super) fn counts(&self, name: &str) -> bool {
        let hearsay = self.hearsay.get(name);
        self.contains(name) || hearsay.is_some_and(|it| it.first.elapsed() < self.window)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_listed_receiver_counts_until_the_window_has_passed() {
        let mut listing = Listing::new(WINDOW);
        listing.record(["a:1"].into_iter());
        advance(WINDOW / 2).await;
        listing.record([].into_iter());
        assert!(listing.contains("a:1"));
        advance(WINDOW / 2).await;
        listing.record([].into_iter());
        assert!(!listing.contains("a:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_hearsay_does_not_last_longer() {
        let mut listing = Listing::new(WINDOW);
        for _ in 0..60 {
            assert!(listing.hear("a:1") && listing.counts("a:1"));
            assert!(!listing.contains("a:1"));
            advance(Duration::from_secs(1)).await;
            listing.record([].into_iter());
        }
        for _ in 0..3600 {
            assert!(!listing.hear("a:1") && !listing.counts("a:1"));
            advance(Duration::from_secs(1)).await;
            listing.record([].into_iter());
        }
        // Discovery is believed at any time.
        listing.record(["a:1"].into_iter());
        assert!(listing.hear("a:1") && listing.counts("a:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_names_is_bounded() {
        let mut listing = Listing::new(WINDOW);
        let heard = (0..2 * MAX_HEARSAY).filter(|n| listing.hear(&format!("p{n}:1")));
        assert_eq!(heard.count(), MAX_HEARSAY);
    }
}
