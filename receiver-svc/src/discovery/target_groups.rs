//! The target groups that one discovery mechanism has reported.

use std::{collections::BTreeMap, sync::Arc};

use mesh_model::config::discovery::TargetGroup;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

/// The target groups of one mechanism, by source. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TargetGroups {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// Outcome of the first refresh; `None` until it completes.
    first_refresh: watch::Sender<Option<Result<(), String>>>,
}

#[derive(Debug, Default, PartialEq)]
struct State {
    groups: BTreeMap<String, Arc<TargetGroup>>,
    /// Set once the mechanism has reported all its groups.
    synced: bool,
    /// Failure of the last refresh.
    failure: Option<String>,
}

// === impl TargetGroups ===

impl TargetGroups {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self {
            state: Arc::default(),
            changed,
            first_refresh: watch::Sender::default(),
        }
    }

    /// Inserts or replaces each group by its source. A group without targets
    /// removes its source.
    pub(super) fn update(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let mut state = self.state();
        let mut changed = false;
        for group in groups {
            if group.targets.is_empty() {
                changed |= state.groups.remove(&group.source).is_some();
            } else if state.groups.get(&group.source).map(|old| &**old) != Some(&group) {
                state.groups.insert(group.source.clone(), Arc::new(group));
                changed = true;
            }
        }
        if changed {
            self.changed.notify_one();
        }
    }

    /// Marks the groups as complete, even if there are none.
    pub(super) fn mark_synced(&self) {
        self.reported(None);
    }

    /// Marks the groups as complete, except for the sources that `failure` is about. Their
    /// groups of earlier refreshes stay.
    pub(super) fn reported(&self, failure: Option<String>) {
        let mut state = self.state();
        state.failure.clone_from(&failure);
        if !std::mem::replace(&mut state.synced, true) {
            self.changed.notify_one();
        }
        drop(state);
        self.record_first_refresh(failure.map_or(Ok(()), Err));
    }

    /// Records a failed refresh. The groups of earlier refreshes stay.
    pub(super) fn failed(&self, error: impl Into<String>) {
        let error = error.into();
        self.state().failure = Some(error.clone());
        if self.record_first_refresh(Err(error)) {
            self.changed.notify_one();
        }
    }

    /// Returns the failure of the last refresh, or `None` if it succeeded.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Returns true once the first refresh has ended, successful or not.
    pub(super) fn has_refreshed(&self) -> bool {
        self.first_refresh.borrow().is_some()
    }

    /// Records the outcome if it is the first one. Returns true in that case.
    fn record_first_refresh(&self, outcome: Result<(), String>) -> bool {
        self.first_refresh.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(outcome);
            is_first
        })
    }

    /// Waits until the mechanism has completed its first refresh.
    ///
    /// # Errors
    /// Returns the failure of the first refresh.
    pub(super) async fn first_refresh(&self) -> Result<(), String> {
        let mut first = self.first_refresh.subscribe();
        match first.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // `self` holds the sender, so the channel cannot be closed.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Replaces all groups and marks them as complete.
    pub fn replace(&self, groups: impl IntoIterator<Item = TargetGroup>) {
        let mut state = self.state();
        let groups = groups.into_iter().filter(|group| !group.targets.is_empty());
        // An unchanged group stays the same object, so that its targets are not relabeled.
        let groups = groups.map(|group| match state.groups.get(&group.source) {
            Some(old) if **old == group => (group.source, old.clone()),
            _ => (group.source.clone(), Arc::new(group)),
        });
        let new = State {
            groups: groups.collect(),
            synced: true,
            failure: None,
        };
        state.failure = None;
        if *state != new {
            *state = new;
            self.changed.notify_one();
        }
        drop(state);
        self.record_first_refresh(Ok(()));
    }

    /// Returns all groups, ordered by source.
    pub fn all(&self) -> Vec<Arc<TargetGroup>> {
        self.state().groups.values().cloned().collect()
    }

    /// Returns true once the mechanism has reported all its groups.
    pub(super) fn is_synced(&self) -> bool {
        self.state().synced
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
