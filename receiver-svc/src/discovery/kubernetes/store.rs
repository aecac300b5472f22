//! The objects of one watch, as they were last known, and who follows them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::Notify;

use super::objects::{Object, ObjectKey};

/// The objects of one watch. A change that leaves what is kept of an object as it
/// was is none.
#[derive(Debug)]
pub struct Store<K>(Mutex<State<K>>);

/// A store's objects and which of them have changed since they were last asked for.
#[derive(Debug)]
pub struct Follower<K> {
    store: Arc<Store<K>>,
    changed: Arc<Changed>,
    /// Keeps the watch that fills the store running.
    _watch: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

#[derive(Debug)]
struct State<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    /// Whether all objects have been known once.
    synced: bool,
    /// Why they are not, where that failed.
    failure: Option<String>,
    followers: Vec<Weak<Changed>>,
}

/// What a follower has not asked for yet: at most one entry an object.
#[derive(Debug)]
struct Changed {
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
            followers: Vec::new(),
        }))
    }
}

impl<K: Object> Store<K> {
    /// Takes up an object, new or changed.
    pub fn apply(&self, mut object: K) {
        object.strip();
        let key = object.key();
        let mut state = self.state();
        if state.objects.get(&key).is_none_or(|old| **old != object) {
            state.objects.insert(key.clone(), Arc::new(object));
            state.tell([key]);
        }
    }

    /// Forgets an object.
    pub fn delete(&self, key: &ObjectKey) {
        let mut state = self.state();
        if state.objects.remove(key).is_some() {
            state.tell([key.clone()]);
        }
    }

    /// Makes these objects all there are; from then on the store is synced.
    pub fn replace(&self, objects: impl IntoIterator<Item = K>) {
        let objects = objects.into_iter().map(|mut object| {
            object.strip();
            (object.key(), object)
        });
        let mut objects: HashMap<_, _> = objects.collect();
        let mut state = self.state();
        let mut changed = BTreeSet::new();
        state.objects.retain(|key, old| {
            let stays = objects.get(key) == Some(&**old);
            if stays {
                // The one that is shared already is kept.
                objects.remove(key);
            } else {
                changed.insert(key.clone());
            }
            stays
        });
        changed.extend(objects.keys().cloned());
        let objects = objects.into_iter().map(|(key, new)| (key, Arc::new(new)));
        state.objects.extend(objects);
        state.synced = true;
        state.failure = None;
        state.tell(changed);
    }

    /// The objects could not be listed. What was known before stays.
    pub(super) fn fail(&self, failure: impl Into<String>) {
        let mut state = self.state();
        state.failure = Some(failure.into());
        state.tell([]);
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all objects have been known once.
    pub fn is_synced(&self) -> bool {
        self.state().synced
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        // No code that holds the lock can leave the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl<K> State<K> {
    fn tell(&mut self, keys: impl IntoIterator<Item = ObjectKey> + Clone) {
        self.followers.retain(|follower| {
            let Some(follower) = follower.upgrade() else {
                return false;
            };
            follower.keys().extend(keys.clone());
            follower.notify.notify_one();
            true
        });
    }
}

// === impl Changed ===

impl Changed {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Follower ===

impl<K: Object> Follower<K> {
    /// Follows a store: `notify` is told of every change, and all that is known
    /// already is changed.
    pub fn new(store: Arc<Store<K>>, notify: Arc<Notify>) -> Self {
        Self::watching(store, notify, None)
    }

    /// Follows a store and keeps running what fills it.
    pub(super) fn watching(
        store: Arc<Store<K>>,
        notify: Arc<Notify>,
        watch: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Self {
        let mut state = store.state();
        let changed = Arc::new(Changed {
            keys: Mutex::new(state.objects.keys().cloned().collect()),
            notify,
        });
        changed.notify.notify_one();
        state.followers.push(Arc::downgrade(&changed));
        drop(state);
        Self {
            store,
            changed,
            _watch: watch,
        }
    }

    /// Whether all objects have been known once.
    pub(super) fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// Why the objects are not known, where that failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.store.state().failure.clone()
    }

    /// The objects that have changed or gone since the last call.
    pub(super) fn changed(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut *self.changed.keys())
    }

    /// An object, where there is one.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.store.state().objects.get(key).cloned()
    }

    /// The keys of those objects for which `wanted` says so.
    pub(super) fn keys_of(&self, wanted: impl Fn(&K) -> bool) -> Vec<ObjectKey> {
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
    fn a_new_list_tells_what_came_changed_and_went() {
        let store = Arc::new(Store::default());
        store.apply(namespace("stays", "1"));
        let follower = Follower::new(store.clone(), Arc::default());
        assert_eq!(names(follower.changed()), ["stays"]);
        assert!(!follower.is_synced());
        store.replace(["stays", "changes", "goes"].map(|name| namespace(name, "1")));
        assert!(follower.is_synced());
        assert_eq!(names(follower.changed()), ["changes", "goes"]);
        store.replace([
            namespace("stays", "1"),
            namespace("changes", "2"),
            namespace("new", "1"),
        ]);
        assert_eq!(names(follower.changed()), ["changes", "goes", "new"]);
        assert_eq!(store.len(), 3);
    }

    #[test]
    fn what_no_label_needs_is_no_change() {
        let store = Arc::new(Store::default());
        let follower = Follower::new(store.clone(), Arc::default());
        let mut object = namespace("n", "1");
        store.apply(object.clone());
        assert_eq!(names(follower.changed()), ["n"]);
        object.metadata.resource_version = Some("2".to_owned());
        store.apply(object);
        assert!(follower.changed().is_empty());
        store.delete(&ObjectKey::cluster_wide("n"));
        store.delete(&ObjectKey::cluster_wide("other"));
        assert_eq!(names(follower.changed()), ["n"]);
    }
}
