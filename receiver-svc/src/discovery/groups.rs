//! What one mechanism knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesh::config::discovery::TargetGroup;
use tokio::sync::{Notify, watch};

/// The target groups of one mechanism, by source. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Groups {
    known: Arc<Mutex<Known>>,
    changed: Arc<Notify>,
    /// How it went when the mechanism looked for targets first.
    first_round: watch::Sender<Option<Result<(), String>>>,
}

#[derive(Debug, Default, PartialEq)]
struct Known {
    groups: BTreeMap<String, Arc<TargetGroup>>,
    /// Whether the mechanism has told all it knows.
    told: bool,
}

// === impl Groups ===

impl Groups {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self {
            known: Arc::default(),
            changed,
            first_round: watch::Sender::default(),
        }
    }

    /// Puts each group in the place of the one of its source; a group without
    /// targets removes that one. With them the mechanism has told all it knows.
    pub fn update(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        self.learn(groups);
        self.told();
    }

    /// As [`update`](Self::update), where the mechanism knows more that is not told
    /// yet.
    pub(super) fn learn(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let mut known = self.known();
        let mut changed = false;
        for group in groups {
            if group.targets.is_empty() {
                changed |= known.groups.remove(&group.source).is_some();
            } else if known.groups.get(&group.source).map(|old| &**old) != Some(&group) {
                known.groups.insert(group.source.clone(), Arc::new(group));
                changed = true;
            }
        }
        if changed {
            self.changed.notify_one();
        }
    }

    /// The mechanism has told all it knows, be it nothing.
    pub(super) fn told(&self) {
        if !std::mem::replace(&mut self.known().told, true) {
            self.changed.notify_one();
        }
        self.first_round(Ok(()));
    }

    /// The mechanism could not look everywhere; what it knew before stays.
    pub(super) fn failed(&self, error: impl Into<String>) {
        self.first_round(Err(error.into()));
    }

    fn first_round(&self, outcome: Result<(), String>) {
        self.first_round.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(outcome);
            is_first
        });
    }

    /// Waits until the mechanism has looked for targets once.
    ///
    /// # Errors
    /// Where it could not, with the reason.
    pub(super) async fn looked(&self) -> Result<(), String> {
        let mut rounds = self.first_round.subscribe();
        match rounds.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // We hold the sender ourselves.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Makes these groups all that the mechanism knows.
    pub fn replace(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let groups = groups.into_iter().filter(|group| !group.targets.is_empty());
        let groups = groups.map(|group| (group.source.clone(), Arc::new(group)));
        let now = Known {
            groups: groups.collect(),
            told: true,
        };
        let mut known = self.known();
        if *known != now {
            *known = now;
            self.changed.notify_one();
        }
        drop(known);
        self.first_round(Ok(()));
    }

    /// All groups, in the order of their sources.
    pub fn all(&self) -> Vec<Arc<TargetGroup>> {
        self.known().groups.values().cloned().collect()
    }

    /// Whether the mechanism has told all it knows.
    pub(super) fn have_told(&self) -> bool {
        self.known().told
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No code that holds the lock can leave the map half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
