//! What one mechanism knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesh::config::discovery::TargetGroup;
use tokio::sync::Notify;

/// The target groups of one mechanism, by source. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Groups {
    known: Arc<Mutex<Known>>,
    changed: Arc<Notify>,
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
