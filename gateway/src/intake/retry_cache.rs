//! Recognises batches that a client retries.
//!
//! After a timeout a client sends the same bytes again, while the first batch is pending
//! or was just stored. The retry joins the first batch and gets its outcome. The outbox
//! therefore does not fill with copies while the backend is down. Equal bytes are the same
//! data, since points have timestamps.
//!
//! When no client waits for a batch, the outbox withdraws it, unless an export is already
//! in flight. The client may retry at another gateway. Its next push must not reach the
//! backend before a batch that is still in this outbox.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use mesh_outbox::{Outcome, Waiter, Waiters};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::oneshot, time::Instant};
use xxhash_rust::xxh3::xxh3_128;

/// Handle of a push that waits for the outcome of a batch.
#[derive(Debug)]
pub(super) struct PendingBatch {
    outcome: SharedOutcome,
    _waiter: Waiter,
}

/// Outcome of a batch; `None` if the gateway stops first.
type SharedOutcome = Shared<BoxFuture<'static, Option<Outcome>>>;

/// A batch that was pushed into the outbox.
#[derive(Debug)]
struct Entry {
    outcome: SharedOutcome,
    waiters: Waiters,
    /// Time of the push.
    since: Instant,
}

/// Batches of the last minutes, by the hash of their payload. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryCache(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    by_payload: HashMap<u128, Entry>,
    oldest_first: VecDeque<(u128, Instant)>,
}

/// Maximum number of batches.
const CAPACITY: usize = 10_000;
/// Time after which a batch is evicted.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

// === impl RetryCache ===

impl RetryCache {
    /// Finds an earlier batch with the same payload, unless it has expired.
    pub(super) fn find(&self, payload: &[u8]) -> Option<PendingBatch> {
        let hash = xxh3_128(payload);
        let mut entries = self.lock();
        entries.evict_old(Instant::now());
        let Entry {
            outcome, waiters, ..
        } = entries.by_payload.get(&hash)?;
        let pending = PendingBatch {
            _waiter: waiters.add(),
            outcome: outcome.clone(),
        };
        // A batch that expired without a verdict must be sent again.
        match outcome.clone().now_or_never() {
            Some(None | Some(Outcome::Expired(_))) => None,
            Some(Some(Outcome::Verdict(_))) | None => Some(pending),
        }
    }

    /// Adds a batch that was just pushed for `waiter`.
    pub(super) fn insert(
        &self,
        payload: &[u8],
        outcome: oneshot::Receiver<Outcome>,
        waiter: &Waiter,
    ) -> PendingBatch {
        let outcome = outcome.map(Result::ok).boxed().shared();
        let waiters = waiter.waiters();
        let pending = PendingBatch {
            outcome: outcome.clone(),
            _waiter: waiters.add(),
        };
        let since = Instant::now();
        let entry = Entry {
            outcome,
            waiters,
            since,
        };
        let hash = xxh3_128(payload);
        let mut entries = self.lock();
        entries.by_payload.insert(hash, entry);
        entries.oldest_first.push_back((hash, since));
        pending
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }
}

// === impl PendingBatch ===

impl PendingBatch {
    /// Waits for the outcome of the batch. Returns `None` if the gateway stops first.
    pub(super) async fn outcome(self) -> Option<Outcome> {
        self.outcome.clone().await
    }
}

// === impl Entries ===

impl Entries {
    fn evict_old(&mut self, now: Instant) {
        while let Some((hash, since)) = self.oldest_first.front() {
            if now - *since <= MAX_AGE && self.oldest_first.len() <= CAPACITY {
                return;
            }
            // A batch that expired may have been pushed again since.
            if let hash_map::Entry::Occupied(entry) = self.by_payload.entry(*hash)
                && entry.get().since == *since
            {
                entry.remove();
            }
            self.oldest_first.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_base::clock::Clock;
    use mesh_contract::{
        batch::Batch,
        export::{Export, ExportError},
        verdict::Verdict,
    };
    use mesh_outbox::{Expiry, Outbox, OutboxArgs};

    use super::*;

    /// Waiter of a batch that no exporter ever answers.
    fn waiter() -> Waiter {
        let service =
            tower::service_fn(|_: Export| std::future::pending::<Result<_, ExportError>>());
        let (outbox, _workers) = Outbox::new(&OutboxArgs::default(), Clock::system(), service);
        let batch = Batch {
            key: 0,
            payload: Default::default(),
            samples: 1,
            time_ms: 0,
            context: Default::default(),
        };
        outbox.push_with_waiter(batch).unwrap().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_joins_a_pending_or_completed_batch() {
        let retries = RetryCache::default();
        let (sender, outcome) = oneshot::channel();
        assert!(retries.find(b"a").is_none());
        let first = retries.insert(b"a", outcome, &waiter());
        let second = retries.find(b"a").unwrap();
        assert!(retries.find(b"b").is_none());
        let verdict = Outcome::Verdict(Verdict::default());
        sender.send(verdict.clone()).unwrap();
        assert_eq!(
            (first.outcome().await, second.outcome().await),
            (Some(verdict.clone()), Some(verdict.clone()))
        );
        assert_eq!(retries.find(b"a").unwrap().outcome().await, Some(verdict));
        tokio::time::advance(MAX_AGE * 2).await;
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn a_retry_of_an_expired_batch_is_sent_again() {
        let retries = RetryCache::default();
        let (sender, outcome) = oneshot::channel();
        let _waiting = retries.insert(b"a", outcome, &waiter());
        sender.send(Outcome::Expired(Expiry::OutboxFull)).unwrap();
        assert!(retries.find(b"a").is_none());
        let (sender, outcome) = oneshot::channel();
        let _waiting = retries.insert(b"a", outcome, &waiter());
        drop(sender);
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_pushed_again_is_kept_for_its_own_time() {
        let retries = RetryCache::default();
        let (sender, outcome) = oneshot::channel();
        let _waiting = retries.insert(b"a", outcome, &waiter());
        sender.send(Outcome::Expired(Expiry::OutboxFull)).unwrap();
        tokio::time::advance(MAX_AGE / 2).await;
        let (_sender, outcome) = oneshot::channel();
        let _waiting = retries.insert(b"a", outcome, &waiter());
        tokio::time::advance(MAX_AGE * 3 / 4).await;
        assert!(retries.find(b"a").is_some());
        tokio::time::advance(MAX_AGE).await;
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn evicts_the_oldest_batch_first() {
        let retries = RetryCache::default();
        let mut senders = Vec::new();
        let waiter = waiter();
        for i in 0..=CAPACITY {
            let (sender, outcome) = oneshot::channel();
            let _waiting = retries.insert(&i.to_le_bytes(), outcome, &waiter);
            senders.push(sender);
        }
        assert!(retries.find(&0usize.to_le_bytes()).is_none());
        assert!(retries.find(&1usize.to_le_bytes()).is_some());
    }
}
