//! Knows a push that comes again.
//!
//! A client that has not heard in time sends the same bytes once more, while the
//! first ones still wait or have just been stored. They join the first: the outbox
//! does not fill with copies while the backend is away, and the answer is the one
//! the client missed. Points have times, so that the same bytes are the same data.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use mesh::outbox::Outcome;
use tokio::{sync::oneshot, time::Instant};
use xxhash_rust::xxh3::xxh3_128;

/// What becomes of a batch; `None` where the gateway stops first.
pub(super) type Waiting = Shared<BoxFuture<'static, Option<Outcome>>>;

/// The batches of the last minutes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries(Arc<Mutex<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    by_payload: HashMap<u128, Waiting>,
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
        let waiting = recent.by_payload.get(&hash)?.clone();
        // What was never judged has to be sent.
        let known = waiting.peek().cloned().or(waiting.clone().now_or_never());
        match known {
            Some(None | Some(Outcome::Expired(_))) => None,
            Some(Some(Outcome::Judged(_))) | None => Some(waiting),
        }
    }

    pub(super) fn remember(&self, payload: &[u8], told: oneshot::Receiver<Outcome>) -> Waiting {
        let waiting = told.map(Result::ok).boxed().shared();
        let hash = xxh3_128(payload);
        let mut recent = self.lock();
        recent.by_payload.insert(hash, waiting.clone());
        recent.oldest_first.push_back((hash, Instant::now()));
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // No code that holds the lock can leave its state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    use mesh::{outbox::Expiry, verdict::Verdict};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_retry_joins_what_waits_or_was_judged() {
        let retries = Retries::default();
        let (tell, told) = oneshot::channel();
        assert!(retries.find(b"a").is_none());
        let first = retries.remember(b"a", told);
        let second = retries.find(b"a").unwrap();
        assert!(retries.find(b"b").is_none());
        let judged = Outcome::Judged(Verdict::default());
        tell.send(judged.clone()).unwrap();
        assert_eq!(
            (first.await, second.await),
            (Some(judged.clone()), Some(judged.clone()))
        );
        assert_eq!(retries.find(b"a").unwrap().await, Some(judged));
        tokio::time::advance(MAX_AGE * 2).await;
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn what_has_expired_is_sent_again() {
        let retries = Retries::default();
        let (tell, told) = oneshot::channel();
        let _waiting = retries.remember(b"a", told);
        tell.send(Outcome::Expired(Expiry::OutboxFull)).unwrap();
        assert!(retries.find(b"a").is_none());
        let (tell, told) = oneshot::channel();
        let _waiting = retries.remember(b"a", told);
        drop(tell);
        assert!(retries.find(b"a").is_none());
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_first() {
        let retries = Retries::default();
        let mut waiting = Vec::new();
        for i in 0..=CAPACITY {
            let (tell, told) = oneshot::channel();
            let _waiting = retries.remember(&i.to_le_bytes(), told);
            waiting.push(tell);
        }
        assert!(retries.find(&0usize.to_le_bytes()).is_none());
        assert!(retries.find(&1usize.to_le_bytes()).is_some());
    }
}
