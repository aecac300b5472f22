//! Selects the gateway that owns a stream and keeps its total.

use std::{sync::Arc, time::Duration};

use mesh_kubernetes::shard::{Shard, Shards};
use tokio::time::Instant;

use crate::stream::StreamId;

/// Tracks the members and selects each stream's owner.
#[derive(Debug)]
pub(crate) struct Owners {
    shards: Shards,
    current: Option<Shard>,
    /// Members before the changes of the last [`GRACE`], without repetitions.
    before: Vec<Option<Shard>>,
    changed: Instant,
}

/// Owner of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The gateway itself.
    This,
    /// The peer with this address.
    Peer(Arc<str>),
    /// No owner yet: the stream is moving, or no members are known. The client retries.
    Unsettled,
}

/// Time that a new owner waits before it accepts a stream. The old owner may learn about the
/// change later, and must have stopped by then.
const GRACE: Duration = Duration::from_secs(3);

// === impl Owners ===

impl Owners {
    pub(crate) fn new(mut shards: Shards) -> Self {
        let current = shards.borrow_and_update().clone();
        Self {
            shards,
            current,
            before: Vec::new(),
            changed: Instant::now(),
        }
    }

    /// Applies a change of the members. Returns false if there was none.
    pub(crate) fn update(&mut self) -> bool {
        if !self.shards.has_changed().unwrap_or(false) {
            return false;
        }
        let now = self.shards.borrow_and_update().clone();
        if self.changed.elapsed() >= GRACE {
            self.before.clear();
        }
        let before = std::mem::replace(&mut self.current, now);
        if !self.before.contains(&before) {
            self.before.push(before);
        }
        self.changed = Instant::now();
        true
    }

    /// Selects the owner of a stream.
    pub(crate) fn of(&self, stream: StreamId) -> Owner {
        let Some(shard) = &self.current else {
            return Owner::Unsettled;
        };
        if let Some(peer) = shard.other_owner(stream.key()) {
            return Owner::Peer(peer.clone());
        }
        if !shard.owns(stream.key()) {
            return Owner::Unsettled;
        }
        let settled = !shard.has_others() || self.changed.elapsed() >= GRACE;
        // A stream that was gained a moment ago may still be summed by its former owner.
        let owned_before = || {
            let mut before = self.before.iter();
            before.all(|shard| shard.as_ref().is_some_and(|it| it.owns(stream.key())))
                && !self.before.is_empty()
        };
        if settled || owned_before() {
            Owner::This
        } else {
            Owner::Unsettled
        }
    }

    /// Returns the number of other gateways.
    pub(crate) fn peers(&self) -> usize {
        self.current
            .as_ref()
            .map_or(0, |shard| shard.others().count())
    }

    /// Returns true if this gateway owns the stream, even if it has not settled yet.
    pub(crate) fn owns(&self, stream: StreamId) -> bool {
        self.current
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
    use crate::stream::Prefix;

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

    fn owned_with(members: &[&str], i: usize) -> bool {
        shard(members).unwrap().owns(stream(i).key())
    }

    #[tokio::test(start_paused = true)]
    async fn a_gained_stream_waits_for_the_grace_period() {
        let (sender, shards) = watch::channel(None);
        let mut owners = Owners::new(shards);
        assert_eq!(owners.of(stream(0)), Owner::Unsettled);
        sender.send_replace(shard(&["a", "b"]));
        assert!(owners.update() && !owners.update());
        let count = |owners: &Owners, owner: &Owner| {
            (0..100).filter(|i| owners.of(stream(*i)) == *owner).count()
        };
        let others = count(&owners, &Owner::Peer("b".into()));
        assert!((30..70).contains(&others));
        assert_eq!(count(&owners, &Owner::Unsettled), 100 - others);
        tokio::time::advance(GRACE).await;
        assert_eq!(count(&owners, &Owner::This), 100 - others);
        // Streams owned before continue; gained streams wait.
        sender.send_replace(shard(&["a", "c"]));
        owners.update();
        let retained = count(&owners, &Owner::This);
        let gained = count(&owners, &Owner::Unsettled);
        assert!(retained > 10 && gained > 10, "{retained} {gained}");
        tokio::time::advance(GRACE).await;
        assert_eq!(count(&owners, &Owner::This), retained + gained);
        // A second change at once settles nothing.
        sender.send_replace(shard(&["a", "d"]));
        owners.update();
        let gained_at_first = |owners: &Owners| {
            let gained = (0..100).filter(|i| !owned_with(&["a", "c"], *i));
            gained
                .filter(|i| owners.of(stream(*i)) == Owner::This)
                .count()
        };
        assert_eq!(gained_at_first(&owners), 0);
        sender.send_replace(shard(&["a", "d", "e"]));
        owners.update();
        assert_eq!(gained_at_first(&owners), 0);
        tokio::time::advance(GRACE).await;
        assert!(gained_at_first(&owners) > 0);
        // A gateway without peers does not wait.
        sender.send_replace(shard(&["a"]));
        owners.update();
        assert_eq!(count(&owners, &Owner::This), 100);
        // A gateway that is not a member owns nothing.
        sender.send_replace(shard(&["b"]));
        owners.update();
        assert_eq!(count(&owners, &Owner::Peer("b".into())), 100);
        assert!(!owners.owns(stream(0)));
    }
}
