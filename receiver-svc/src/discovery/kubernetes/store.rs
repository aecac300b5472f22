//! The store of one watch: its objects and their subscribers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::objects::{Object, ObjectKey};

/// The objects of one watch, in their reduced form. A change to other fields of an
/// object is ignored.
#[derive(Debug)]
pub struct Store<K>(Mutex<State<K>>);

/// Reads a store and tracks which objects have changed since the last call.
#[derive(Debug)]
pub struct Subscriber<K> {
    store: Arc<Store<K>>,
    pending: Arc<Pending>,
    /// Keeps the watch that fills the store running.
    _watch: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

#[derive(Debug)]
struct State<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    /// Set once the first list is complete.
    synced: bool,
    /// Failure of the last request, until requests succeed again.
    failure: Option<String>,
    subscribers: Vec<Weak<Pending>>,
}

/// Changes that a subscriber has not taken yet: at most one entry per object.
#[derive(Debug)]
struct Pending {
    keys: Mutex<BTreeSet<ObjectKey>>,
    notify: Arc<Notify>,
}

// === impl Store ===

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(Mutex::new(State {
            objects: HashMap::new(),
            synced: false,
            failure: None,
            subscribers: Vec::new(),
        }))
    }
}

impl<K: Object> Store<K> {
    /// Inserts or replaces an object.
    pub fn apply(&self, mut object: K) {
        object.strip();
        let key = object.key();
        let mut state = self.state();
        if state.objects.get(&key).is_none_or(|old| **old != object) {
            state.objects.insert(key.clone(), Arc::new(object));
            state.notify([key]);
        }
    }

    /// Removes an object.
    pub fn delete(&self, key: &ObjectKey) {
        let mut state = self.state();
        if state.objects.remove(key).is_some() {
            state.notify([key.clone()]);
        }
    }

    /// Strips an object, and returns the stored one if both are equal.
    ///
    /// So a new list of unchanged objects needs no memory for a second copy of them.
    pub(super) fn shared(&self, mut object: K) -> Arc<K> {
        object.strip();
        let stored = self.state().objects.get(&object.key()).cloned();
        match stored {
            Some(stored) if *stored == object => stored,
            _ => Arc::new(object),
        }
    }

    /// Replaces all objects and marks the store as synced.
    pub fn replace(&self, objects: impl IntoIterator<Item = K>) {
        let objects = objects.into_iter().map(|object| self.shared(object));
        let objects: Vec<_> = objects.collect();
        self.replace_shared(objects);
    }

    /// Replaces all objects by results of [`Store::shared`] and marks the store as synced.
    pub(super) fn replace_shared(&self, objects: Vec<Arc<K>>) {
        let objects = objects.into_iter().map(|object| (object.key(), object));
        let objects: HashMap<_, _> = objects.collect();
        let mut state = self.state();
        let old = std::mem::take(&mut state.objects);
        let is_in = |all: &HashMap<ObjectKey, Arc<K>>, key: &ObjectKey, object: &Arc<K>| {
            let same = |other: &Arc<K>| Arc::ptr_eq(other, object) || other == object;
            all.get(key).is_some_and(same)
        };
        let gone = old.iter().filter(|(key, old)| !is_in(&objects, key, old));
        let new = objects.iter().filter(|(key, new)| !is_in(&old, key, new));
        let changed: BTreeSet<_> = gone.chain(new).map(|(key, _)| key.clone()).collect();
        state.objects = objects;
        state.synced = true;
        state.notify(changed);
    }

    /// Records a failed list or watch request. The objects stay.
    pub(super) fn fail(&self, failure: impl Into<String>) {
        let mut state = self.state();
        state.failure = Some(failure.into());
        state.notify([]);
    }

    /// Records that requests succeed again.
    pub(super) fn recover(&self) {
        let mut state = self.state();
        state.failure = None;
        state.notify([]);
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.state().objects.len()
    }

    /// Returns true if the store has no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true once the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.state().synced
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock()
    }
}

// === impl State ===

impl<K> State<K> {
    /// Adds the keys to the pending changes of all subscribers and wakes them.
    fn notify(&mut self, keys: impl IntoIterator<Item = ObjectKey> + Clone) {
        self.subscribers.retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else {
                return false;
            };
            subscriber.keys().extend(keys.clone());
            subscriber.notify.notify_one();
            true
        });
    }
}

// === impl Pending ===

impl Pending {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.keys.lock()
    }
}

// === impl Subscriber ===

impl<K: Object> Subscriber<K> {
    /// Subscribes to a store. Every change wakes `notify`. The objects that are
    /// already in the store count as changed.
    pub fn new(store: Arc<Store<K>>, notify: Arc<Notify>) -> Self {
        Self::with_watch(store, notify, None)
    }

    /// Subscribes to a store and keeps alive the watch that fills it.
    pub(super) fn with_watch(
        store: Arc<Store<K>>,
        notify: Arc<Notify>,
        watch: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Self {
        let mut state = store.state();
        let pending = Arc::new(Pending {
            keys: Mutex::new(state.objects.keys().cloned().collect()),
            notify,
        });
        pending.notify.notify_one();
        state.subscribers.push(Arc::downgrade(&pending));
        drop(state);
        Self {
            store,
            pending,
            _watch: watch,
        }
    }

    /// Returns true once the first list is complete.
    pub(crate) fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// Returns the failure of the last request, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.store.state().failure.clone()
    }

    /// Takes the keys of the objects changed or deleted since the last call.
    pub(super) fn take_changed(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut *self.pending.keys())
    }

    /// Returns the object with this key.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.store.state().objects.get(key).cloned()
    }

    /// Returns the keys of the objects that satisfy `wanted`.
    pub(crate) fn keys_of(&self, wanted: impl Fn(&K) -> bool) -> Vec<ObjectKey> {
        let state = self.store.state();
        let objects = state.objects.iter().filter(|(_, object)| wanted(object));
        objects.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::Namespace;
    use super::*;

    fn namespace(name: &str, label: &str) -> Namespace {
        let metadata = serde_json::json!({
            "name": name, "labels": {"l": label}, "resourceVersion": label,
        });
        serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
    }

    fn names(keys: BTreeSet<ObjectKey>) -> Vec<String> {
        keys.into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn reports_added_changed_and_deleted_objects_of_a_list() {
        let store = Arc::new(Store::default());
        store.apply(namespace("stays", "1"));
        let subscriber = Subscriber::new(store.clone(), Arc::default());
        assert_eq!(names(subscriber.take_changed()), ["stays"]);
        assert!(!subscriber.is_synced());
        store.replace(["stays", "changes", "goes"].map(|name| namespace(name, "1")));
        assert!(subscriber.is_synced());
        assert_eq!(names(subscriber.take_changed()), ["changes", "goes"]);
        store.replace([
            namespace("stays", "1"),
            namespace("changes", "2"),
            namespace("new", "1"),
        ]);
        assert_eq!(names(subscriber.take_changed()), ["changes", "goes", "new"]);
        assert_eq!(store.len(), 3);
    }

    #[tokio::test]
    async fn reports_a_failure_until_the_recovery() {
        let store = Arc::new(Store::<Namespace>::default());
        let changed = Arc::<Notify>::default();
        let subscriber = Subscriber::new(store.clone(), changed.clone());
        changed.notified().await;
        store.fail("refused");
        changed.notified().await;
        assert_eq!(subscriber.failure().as_deref(), Some("refused"));
        store.recover();
        changed.notified().await;
        assert_eq!(subscriber.failure(), None);
    }

    #[test]
    fn ignores_changes_that_no_label_needs() {
        let store = Arc::new(Store::default());
        let subscriber = Subscriber::new(store.clone(), Arc::default());
        let mut object = namespace("n", "1");
        store.apply(object.clone());
        assert_eq!(names(subscriber.take_changed()), ["n"]);
        object.metadata.resource_version = Some("2".to_owned());
        store.apply(object);
        assert!(subscriber.take_changed().is_empty());
        store.delete(&ObjectKey::cluster_wide("n"));
        store.delete(&ObjectKey::cluster_wide("other"));
        assert_eq!(names(subscriber.take_changed()), ["n"]);
    }
}
