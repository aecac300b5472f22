//! Targets that this receiver scrapes, and targets that it has requested.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::ownership::{ClaimKey, Request, ScrapeRecord};

/// Claims of this receiver.
#[derive(Debug, Default)]
pub(super) struct Claims {
    next_id: u64,
    /// Request that was granted, by target and job.
    granted: BTreeMap<ClaimKey, u64>,
    pending: BTreeMap<ClaimKey, Pending>,
    /// Last scrape of each target and the time it was recorded. Includes targets that have
    /// moved to another receiver.
    scrapes: BTreeMap<u64, (ScrapeRecord, Instant)>,
    /// Time at which the series of each target ended because discovery had dropped it.
    ended: BTreeMap<u64, Instant>,
    is_stopped: bool,
}

/// Claim that is not granted yet.
#[derive(Debug)]
pub(super) struct Pending {
    id: u64,
    /// Time of the request, in milliseconds since the Unix epoch.
    pub(super) requested_ms: i64,
    /// `true` once the peers have been asked. Reset when a peer with precedence claims the
    /// target, since earlier responses no longer count.
    is_asked: bool,
    grant: oneshot::Sender<Option<ScrapeRecord>>,
}

/// Time for which the last scrape of a target that has moved, or its end, is remembered.
const RECORD_TTL: Duration = Duration::from_secs(300);

// === impl Claims ===

impl Claims {
    /// Adds a request. It replaces an earlier one with the same key that is still pending.
    pub(super) fn request(&mut self, key: &ClaimKey, now_ms: i64) -> Request {
        let (grant, granted) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        if !self.is_stopped {
            let pending = Pending {
                id,
                requested_ms: now_ms,
                is_asked: false,
                grant,
            };
            self.pending.insert(key.clone(), pending);
        }
        Request { id, granted }
    }

    /// Removes the claim with this number, whether it was granted or not.
    pub(super) fn release(&mut self, key: &ClaimKey, id: u64) {
        if self.granted.get(key) == Some(&id) {
            self.granted.remove(key);
        }
        if self.pending.get(key).is_some_and(|it| it.id == id) {
            self.pending.remove(key);
        }
    }

    /// Removes all claims and accepts no further ones.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.granted.clear();
        self.pending.clear();
    }

    /// Records the last scrape of a target.
    pub(super) fn record_scrape(&mut self, target: u64, scrape: ScrapeRecord) {
        self.scrapes.insert(target, (scrape, Instant::now()));
    }

    /// Records that discovery has dropped a target and that its series have ended.
    pub(super) fn record_end(&mut self, target: u64) {
        self.ended.insert(target, Instant::now());
    }

    /// Returns true if the series of a target have ended recently.
    pub(super) fn has_ended(&self, target: u64) -> bool {
        let since = self.ended.get(&target);
        since.is_some_and(|since| since.elapsed() < RECORD_TTL)
    }

    /// Forgets the ends of targets that discovery knows.
    pub(super) fn retain_ended(&mut self, is_known: impl Fn(u64) -> bool) {
        self.ended.retain(|target, _| !is_known(*target));
    }

    /// Targets that this receiver scrapes.
    pub(super) fn scraped_targets(&self) -> impl Iterator<Item = u64> {
        self.granted.keys().map(|key| key.target)
    }

    /// Returns true if this receiver scrapes a target or has requested it.
    pub(super) fn contains(&self, target: u64) -> bool {
        self.is_scraped(target) || self.is_pending(target)
    }

    /// Returns true if this receiver scrapes a target.
    pub(super) fn is_scraped(&self, target: u64) -> bool {
        contains_target(&self.granted, target)
    }

    /// Returns true if this receiver has requested a target.
    pub(super) fn is_pending(&self, target: u64) -> bool {
        contains_target(&self.pending, target)
    }

    /// Last scrape of a target, if it is known.
    pub(super) fn last_scrape(&self, target: u64) -> Option<ScrapeRecord> {
        self.scrapes.get(&target).map(|(scrape, _)| *scrape)
    }

    /// Discards what peers have answered about a target, because a peer with precedence
    /// claims it.
    pub(super) fn discard_responses(&mut self, target: u64) {
        for (key, pending) in &mut self.pending {
            pending.is_asked &= key.target != target;
        }
    }

    /// Claims that are not granted yet.
    pub(super) fn pending(&self) -> &BTreeMap<ClaimKey, Pending> {
        &self.pending
    }

    /// Marks all pending claims as asked about and returns their targets.
    pub(super) fn mark_asked(&mut self) -> BTreeSet<u64> {
        for pending in self.pending.values_mut() {
            pending.is_asked = true;
        }
        self.pending.keys().map(|key| key.target).collect()
    }

    /// Pending claims whose target no other scrape loop of the same job scrapes here.
    pub(super) fn grantable(&self) -> impl Iterator<Item = (&ClaimKey, &Pending)> {
        let pending = self.pending.iter();
        pending.filter(|(key, _)| !self.granted.contains_key(*key))
    }

    /// Grantable claims that the peers have been asked about.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&ClaimKey, &Pending)> {
        self.grantable().filter(|(_, pending)| pending.is_asked)
    }

    /// Grants a claim. `last` is the last scrape of the target that peers know.
    pub(super) fn grant(&mut self, key: &ClaimKey, last: Option<ScrapeRecord>) {
        let Some(pending) = self.pending.remove(key) else {
            return;
        };
        self.granted.insert(key.clone(), pending.id);
        let last = last.max(self.last_scrape(key.target));
        if let Some(last) = last {
            // A later owner needs it even if this receiver has not scraped the target by then.
            self.record_scrape(key.target, last);
        }
        // Fails only if the claim is about to be released.
        let _ = pending.grant.send(last);
    }

    /// Removes records that are older than [`RECORD_TTL`].
    pub(super) fn evict(&mut self) {
        self.ended.retain(|_, since| since.elapsed() < RECORD_TTL);
        let granted = &self.granted;
        self.scrapes.retain(|target, (_, recorded)| {
            recorded.elapsed() < RECORD_TTL || contains_target(granted, *target)
        });
    }
}

fn contains_target<T>(claims: &BTreeMap<ClaimKey, T>, target: u64) -> bool {
    let first = ClaimKey {
        target,
        job: Arc::from(""),
    };
    let next = claims.range(first..).next();
    next.is_some_and(|(key, _)| key.target == target)
}
