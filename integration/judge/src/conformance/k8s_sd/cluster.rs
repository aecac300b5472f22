//! A Kubernetes cluster whose objects are data.

use std::{cell::RefCell, sync::Arc};

use receiver_svc::discovery::kubernetes::{
    Scope, Store, Subscriber, Watches,
    objects::{Object, ObjectKey},
};
use serde_json::Value;

use super::super::cases::text;

/// Initial objects, and subscribers to their changes.
pub(super) struct Cluster {
    initial: Vec<Value>,
    subscribers: RefCell<Vec<Apply>>,
}

/// Applies an action to the store of a subscriber.
type Apply = Box<dyn Fn(&Value)>;

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(initial: Vec<Value>) -> Self {
        Self {
            initial,
            subscribers: RefCell::default(),
        }
    }

    /// Creates, updates or deletes an object.
    pub(super) fn act(&self, action: &Value) {
        self.subscribers
            .borrow()
            .iter()
            .for_each(|apply| apply(action));
    }
}

impl Watches for Cluster {
    fn subscribe<K: Object>(&self, scope: Scope) -> Subscriber<K> {
        let store = Arc::new(Store::<K>::default());
        let all = self.initial.iter();
        let of_kind = all.filter(|object| object["kind"] == *K::kind(&()));
        let objects = of_kind.filter_map(|object| read::<K>(object, &scope));
        store.replace(objects);
        let subscriber = Subscriber::new(store.clone(), Arc::default());
        let apply = move |action: &Value| {
            if action["resource"]["resource"] != *K::plural(&()) {
                return;
            }
            if action["verb"] == "delete" {
                let key = ObjectKey::new(text(&action["namespace"]), text(&action["name"]));
                store.delete(&key);
            } else if let Some(object) = read(&action["object"], &scope) {
                store.apply(object);
            }
        };
        self.subscribers.borrow_mut().push(Box::new(apply));
        subscriber
    }
}

/// Reads an object. `None` if it is out of scope or cannot be read.
fn read<K: Object>(object: &Value, scope: &Scope) -> Option<K> {
    let object: K = serde_json::from_value(object.clone()).ok()?;
    let namespace = scope.namespace.as_deref();
    if namespace.is_some_and(|namespace| namespace != object.key().namespace) {
        return None;
    }
    let Some((name, value)) = scope.labels.split_once('=') else {
        return Some(object);
    };
    let labels = object.meta().labels.as_ref();
    let has = labels.and_then(|labels| labels.get(name));
    has.is_some_and(|has| has == value).then_some(object)
}
