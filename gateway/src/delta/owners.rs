//! Which gateway sums a stream.

use std::{sync::Arc, time::Duration};

use mesh::shard::{Shard, Shards};
use tokio::time::Instant;

use super::stream::StreamId;

/// Follows who sums which stream.
#[derive(Debug)]
pub(crate) struct Owners {
    shards: Shards,
    now: Option<Shard>,
    before: Option<Shard>,
    changed: Instant,
}

/// Who sums a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This gateway.
    Me,
    /// The one of this name.
    Other(Arc<str>),
    /// It is moving, or nobody is known: the client has to come back.
    Nobody,
}

/// A gateway that comes to own a stream waits this long before it sums it, so that
/// the old owner, which may learn of it later, does not any more.
const GRACE: Duration = Duration::from_secs(3);

// === impl Owners ===

impl Owners {
    pub(crate) fn new(mut shards: Shards) -> Self {
        let now = shards.borrow_and_update().clone();
        Self {
            shards,
            now,
            before: None,
            changed: Instant::now(),
        }
    }

    /// Takes up a change of the members; whether there was one.
    pub(crate) fn update(&mut self) -> bool {
        if !self.shards.has_changed().unwrap_or(false) {
            return false;
        }
        let now = self.shards.borrow_and_update().clone();
        self.before = std::mem::replace(&mut self.now, now);
        self.changed = Instant::now();
        true
    }

    /// Who sums a stream.
    pub(crate) fn of(&self, stream: StreamId) -> Owner {
        let Some(shard) = &self.now else {
            return Owner::Nobody;
        };
        if let Some(other) = shard.other_owner(stream.key()) {
            return Owner::Other(other.clone());
        }
        if !shard.owns(stream.key()) {
            return Owner::Nobody;
        }
        let settled = !shard.has_others() || self.changed.elapsed() >= GRACE;
        let kept = || {
            let before = self.before.as_ref();
            before.is_some_and(|before| before.owns(stream.key()))
        };
        match settled || kept() {
            true => Owner::Me,
            false => Owner::Nobody,
        }
    }

    /// Whether a stream's total may be kept here.
    pub(crate) fn owns(&self, stream: StreamId) -> bool {
        self.now
            .as_ref()
            .is_some_and(|shard| shard.owns(stream.key()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use tokio::sync::watch;

    use super::*;
    use crate::delta::stream::Prefix;

    fn shard(members: &[&str]) -> Option<Shard> {
        let members: BTreeSet<_> = members.iter().map(|m| (*m).to_owned()).collect();
        Some(Shard::new("a", &members))
    }

    fn stream(i: usize) -> StreamId {
        let key = KeyValue {
            key: i.to_string(),
            ..Default::default()
        };
        Prefix::of_resource(None).point(&[key])
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_moves_waits_for_its_old_owner() {
        let (sender, shards) = watch::channel(None);
        let mut owners = Owners::new(shards);
        assert_eq!(owners.of(stream(0)), Owner::Nobody);
        sender.send_replace(shard(&["a", "b"]));
        assert!(owners.update() && !owners.update());
        let mine = |owners: &Owners, owner: &Owner| {
            (0..100).filter(|i| owners.of(stream(*i)) == *owner).count()
        };
        let others = mine(&owners, &Owner::Other("b".into()));
        assert!((30..70).contains(&others));
        assert_eq!(mine(&owners, &Owner::Nobody), 100 - others);
        tokio::time::advance(GRACE).await;
        assert_eq!(mine(&owners, &Owner::Me), 100 - others);
        // What is kept is summed on, what is gained waits.
        sender.send_replace(shard(&["a", "c"]));
        owners.update();
        let kept = mine(&owners, &Owner::Me);
        let gained = mine(&owners, &Owner::Nobody);
        assert!(kept > 10 && gained > 10, "{kept} {gained}");
        tokio::time::advance(GRACE).await;
        assert_eq!(mine(&owners, &Owner::Me), kept + gained);
        // Alone, nobody has to be waited for.
        sender.send_replace(shard(&["a"]));
        owners.update();
        assert_eq!(mine(&owners, &Owner::Me), 100);
        // One that the others do not know sums nothing.
        sender.send_replace(shard(&["b"]));
        owners.update();
        assert_eq!(mine(&owners, &Owner::Other("b".into())), 100);
        assert!(!owners.owns(stream(0)));
    }
}
