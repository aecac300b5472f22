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
    known: Arc<Mutex<BTreeMap<String, TargetGroup>>>,
    changed: Arc<Notify>,
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
    /// targets removes that one.
    pub fn update(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let mut known = self.known();
        let mut changed = false;
        for group in groups {
            if group.targets.is_empty() {
                changed |= known.remove(&group.source).is_some();
            } else if known.get(&group.source) != Some(&group) {
                known.insert(group.source.clone(), group);
                changed = true;
            }
        }
        if changed {
            self.changed.notify_one();
        }
    }

    /// Makes these groups all that the mechanism knows.
    pub fn replace(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let groups = groups.into_iter().filter(|group| !group.targets.is_empty());
        let now: BTreeMap<_, _> = groups.map(|group| (group.source.clone(), group)).collect();
        let mut known = self.known();
        if *known != now {
            *known = now;
            self.changed.notify_one();
        }
    }

    /// All groups, in the order of their sources.
    pub fn all(&self) -> Vec<TargetGroup> {
        self.known().values().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, TargetGroup>> {
        // No code that holds the lock can leave the map half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
