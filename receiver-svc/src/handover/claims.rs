//! The targets that are scraped here, and those that are to be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// The identity of a target and its job. Others are asked about the target; within
/// a receiver two jobs may scrape one.
pub(super) type Name = (u64, Arc<str>);

/// Targets claimed here.
#[derive(Debug, Default)]
pub(super) struct Claims {
    next_id: u64,
    /// What scrapes, by the number of its claim.
    scraped: BTreeMap<Name, u64>,
    pending: BTreeMap<Name, Pending>,
    /// The last scrape of each target and when it was noted, also of those that have
    /// moved on.
    last: BTreeMap<u64, (Seen, Instant)>,
    /// When each target's series were ended as it is gone from discovery.
    ended: BTreeMap<u64, Instant>,
    stopped: bool,
}

/// The last scrape of a target, whichever receiver's it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// When it was, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Whether the target answered.
    pub is_up: bool,
}

/// What a loop that may begin is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The target's last scrape, where one is known.
    pub(super) last: Option<Seen>,
}

/// A claim that is not granted yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) began_ms: i64,
    /// The others have been asked since it began, and since one with precedence has
    /// claimed it too.
    asked: bool,
    grant: oneshot::Sender<Grant>,
}

/// How long the last scrape of a target that has moved on is remembered, and that one
/// has ended.
const MEMORY: Duration = Duration::from_secs(300);

// === impl Claims ===

impl Claims {
    /// Claims a target; the claim's number, and where it is granted. An earlier claim
    /// that was not granted is void.
    pub(super) fn claim(&mut self, name: &Name, began_ms: i64) -> (u64, oneshot::Receiver<Grant>) {
        let (grant, granted) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        if !self.stopped {
            let pending = Pending {
                id,
                began_ms,
                asked: false,
                grant,
            };
            self.pending.insert(name.clone(), pending);
        }
        (id, granted)
    }

    /// The claim with this number is no more.
    pub(super) fn give_up(&mut self, name: &Name, id: u64) {
        if self.scraped.get(name) == Some(&id) {
            self.scraped.remove(name);
        }
        if self
            .pending
            .get(name)
            .is_some_and(|pending| pending.id == id)
        {
            self.pending.remove(name);
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.scraped.clear();
        self.pending.clear();
    }

    /// Notes a target's last scrape.
    pub(super) fn scraped(&mut self, target: u64, last: Seen) {
        self.last.insert(target, (last, Instant::now()));
    }

    /// Notes that a target is gone, and its series have ended.
    pub(super) fn ended(&mut self, target: u64) {
        self.ended.insert(target, Instant::now());
    }

    pub(super) fn has_ended(&self, target: u64) -> bool {
        let since = self.ended.get(&target);
        since.is_some_and(|since| since.elapsed() < MEMORY)
    }

    /// Targets that discovery knows have not ended, or are back.
    pub(super) fn discovered(&mut self, is_known: impl Fn(u64) -> bool) {
        self.ended.retain(|target, _| !is_known(*target));
    }

    pub(super) fn scraped_targets(&self) -> impl Iterator<Item = u64> {
        self.scraped.keys().map(|(target, _)| *target)
    }

    /// Whether a target is scraped or claimed.
    pub(super) fn is_here(&self, target: u64) -> bool {
        self.is_scraped(target) || self.is_claimed(target)
    }

    pub(super) fn is_scraped(&self, target: u64) -> bool {
        of_target(&self.scraped, target)
    }

    pub(super) fn is_claimed(&self, target: u64) -> bool {
        of_target(&self.pending, target)
    }

    pub(super) fn last(&self, target: u64) -> Option<Seen> {
        self.last.get(&target).map(|(last, _)| *last)
    }

    /// Notes that one with precedence claims this target: what others said before does
    /// not count any more.
    pub(super) fn disturb(&mut self, target: u64) {
        for (name, pending) in &mut self.pending {
            pending.asked &= name.0 != target;
        }
    }

    pub(super) fn pending(&self) -> &BTreeMap<Name, Pending> {
        &self.pending
    }

    /// The targets of claims that are not granted, about which the others are asked now.
    pub(super) fn ask_about(&mut self) -> BTreeSet<u64> {
        for pending in self.pending.values_mut() {
            pending.asked = true;
        }
        self.pending.keys().map(|(target, _)| *target).collect()
    }

    /// Claims of targets that no loop of the same job here scrapes any more.
    pub(super) fn free(&self) -> impl Iterator<Item = (&Name, &Pending)> {
        let pending = self.pending.iter();
        pending.filter(|(name, _)| !self.scraped.contains_key(*name))
    }

    /// Those of them about which the others have been asked.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&Name, &Pending)> {
        self.free().filter(|(_, pending)| pending.asked)
    }

    /// Lets a claimed target be scraped, of whose last scrape others have told.
    pub(super) fn grant(&mut self, name: &Name, last: Option<Seen>) {
        let Some(pending) = self.pending.remove(name) else {
            return;
        };
        self.scraped.insert(name.clone(), pending.id);
        let last = last.max(self.last(name.0));
        if let Some(last) = last {
            // Whoever takes it over before it is scraped here is to know too.
            self.scraped(name.0, last);
        }
        // Where nobody listens the claim is about to be given up.
        let _ = pending.grant.send(Grant { last });
    }

    /// Forgets the scrapes of targets that have moved on long ago, and old ends.
    pub(super) fn forget(&mut self) {
        self.ended.retain(|_, since| since.elapsed() < MEMORY);
        let scraped = &self.scraped;
        self.last
            .retain(|target, (_, noted)| noted.elapsed() < MEMORY || of_target(scraped, *target));
    }
}

fn of_target<T>(of: &BTreeMap<Name, T>, target: u64) -> bool {
    let mut from = of.range((target, Arc::from(""))..);
    from.next().is_some_and(|((first, _), _)| *first == target)
}
