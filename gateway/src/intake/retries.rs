//! Knows a push that comes again.
//!
//! A client that has not heard in time sends the same bytes once more, while the
//! first ones still wait or have just been stored. They join the first: the outbox
//! does not fill with copies while the backend is away, and the answer is the one
//! the client missed. Points have times, so that the same bytes are the same data.
//!
//! What a client does not wait for any more is its own again: it may come by another
//! gateway, and what the client pushes next must not be overtaken here. So the outbox
//! withdraws it, unless an Export of it is under way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use mesh::outbox::{Interest, Outcome, Waiter};
use tokio::{sync::oneshot, time::Instant};
use xxhash_rust::xxh3::xxh3_128;

/// A push that waits for what becomes of a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    told: Told,
    _waiter: Waiter,
}

/// What becomes of a batch; `None` where the gateway stops first.
type Told = Shared<BoxFuture<'static, Option<Outcome>>>;

/// A batch that was pushed.
#[derive(Debug)]
struct Known {
    told: Told,
    interest: Interest,
}

/// The batches of the last minutes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries(Arc<Mutex<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    by_payload: HashMap<u128, Known>,
    oldest_first: VecDeque<(u128, Instant)>,
}

/// How many batches are known, and for how long.
const CAPACITY: usize = 10_000;
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

// === impl Retries ===

impl Retries {
    /// What becomes of a batch with this payload, where it was pushed before and
    /// has not expired.
    pub(super) fn find(&self, payload: &[u8]) -> Option<Waiting> {
        let hash = xxh3_128(payload);
        let mut recent = self.lock();
        recent.forget_old(Instant::now());
        let Known { told, interest } = recent.by_payload.get(&hash)?;
        let waiting = Waiting {
            _waiter: interest.wait(),
            told: told.clone(),
        };
        // What was never judged has to be sent.
        match told.clone().now_or_never() {
            Some(None | Some(Outcome::Expired(_))) => None,
            Some(Some(Outcome::Judged(_))) | None => Some(waiting),
        }
    }

    /// Knows a batch from now on, for which `waiter` waits.
    pub(super) fn remember(
        &self,
        payload: &[u8],
        told: oneshot::Receiver<Outcome>,
        waiter: Waiter,
    ) -> Waiting {
        let told = told.map(Result::ok).boxed().shared();
        let known = Known {
            told: told.clone(),
            interest: waiter.interest(),
        };
        let hash = xxh3_128(payload);
        let mut recent = self.lock();
        recent.by_payload.insert(hash, known);
        recent.oldest_first.push_back((hash, Instant::now()));
        Waiting {
            told,
            _waiter: waiter,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // No code that holds the lock can leave its state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl Waiting {
    /// What became of the batch; `None` where the gateway stops first.
    pub(super) async fn told(self) -> Option<Outcome> {
        self.told.clone().await
    }
}

// === impl Recent ===

impl Recent {
    fn forget_old(&mut self, now: Instant) {
        while let Some((hash, since)) = self.oldest_first.front() {
            if now - *since <= MAX_AGE && self.oldest_first.len() <= CAPACITY {
                return;
            }
            self.by_payload.remove(hash);
            self.oldest_first.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::{
        batch::Batch,
        clock::Clock,
        export::{Export, ExportError},
        outbox::{Expiry, Outbox, OutboxArgs},
        verdict::Verdict,
    };

    use super::*;

    /// Somebody who waits for a batch.
    fn waiter() -> Waiter {
        let service =
            tower::service_fn(|_: Export| std::future::pending::<Result<_, ExportError>>());
        let (outbox, _workers) = Outbox::new(&OutboxArgs::default(), Clock::system(), service);
        let batch = Batch {
            key: 0,
            payload: Default::default(),
            samples: 1,
            time_ms: 0,
            facts: Default::default(),
        };
        outbox.push_for(batch).unwrap().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_joins_what_waits_or_was_judged() {
        let retries = Retries::default();
        let (tell, told) = oneshot::channel();
        assert!(retries.find(b"a").is_none());
        let first = retries.remember(b"a", told, waiter());
        let second = retries.find(b"a").unwrap();
        assert!(retries.find(b"b").is_none());
        let judged = Outcome::Judged(Verdict::default());
        tell.send(judged.clone()).unwrap();
        assert_eq!(
            (first.told().await, second.told().await),
            (Some(judged.clone()), Some(judged.clone()))
        );
        assert_eq!(retries.find(b"a").unwrap().told().await, Some(judged));
        tokio::time::advance(MAX_AGE * 2).await;
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn what_has_expired_is_sent_again() {
        let retries = Retries::default();
        let (tell, told) = oneshot::channel();
        let _waiting = retries.remember(b"a", told, waiter());
        tell.send(Outcome::Expired(Expiry::OutboxFull)).unwrap();
        assert!(retries.find(b"a").is_none());
        let (tell, told) = oneshot::channel();
        let _waiting = retries.remember(b"a", told, waiter());
        drop(tell);
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_first() {
        let retries = Retries::default();
        let mut waiting = Vec::new();
        let interest = waiter().interest();
        for i in 0..=CAPACITY {
            let (tell, told) = oneshot::channel();
            let _waiting = retries.remember(&i.to_le_bytes(), told, interest.wait());
            waiting.push(tell);
        }
        assert!(retries.find(&0usize.to_le_bytes()).is_none());
        assert!(retries.find(&1usize.to_le_bytes()).is_some());
    }
}
