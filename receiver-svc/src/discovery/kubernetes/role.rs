//! From the objects of a role to target groups: the part that all roles have alike.

use std::sync::Arc;

use mesh::config::discovery::TargetGroup;

use super::{
    objects::{Object, ObjectKey},
    related::{Changes, Related},
    store::Follower,
};

/// An object that targets are made of.
pub trait Role: Object {
    /// What its target groups' sources begin with.
    const SOURCE: &'static str;

    /// Its targets. `None` where none can be made of it and those that were made
    /// of it before stay, as in Prometheus.
    fn group(&self, related: &Related) -> Option<TargetGroup>;

    /// Whether a change of related objects is to be seen in its targets.
    fn touched_by(&self, changes: &Changes) -> bool;

    /// The name of its target group.
    fn source(key: &ObjectKey) -> String {
        format!("{}/{key}", Self::SOURCE)
    }
}

/// Makes target groups of watched objects.
pub trait Discover: Send + Sync {
    /// The target groups that have changed since the last call; one without
    /// targets is gone. `None` before everything has been known once.
    fn update(&self) -> Option<Vec<TargetGroup>>;

    /// Why something could not be watched, where it could not last.
    fn failure(&self) -> Option<String>;
}

/// Makes target groups of the objects of a role in one namespace, or in all.
#[derive(Debug)]
pub struct Discoverer<R: Role> {
    objects: Follower<R>,
    related: Related,
}

// === impl Discoverer ===

impl<R: Role> Discoverer<R> {
    /// Of these objects, labeled with those.
    pub fn new(objects: Follower<R>, related: Related) -> Self {
        Self { objects, related }
    }

    fn group(&self, key: &ObjectKey) -> Option<TargetGroup> {
        let object: Option<Arc<R>> = self.objects.get(key);
        match object {
            Some(object) => object.group(&self.related),
            None => Some(TargetGroup {
                source: R::source(key),
                ..TargetGroup::default()
            }),
        }
    }
}

impl<R: Role> Discover for Discoverer<R> {
    fn update(&self) -> Option<Vec<TargetGroup>> {
        if !self.objects.is_synced() || !self.related.is_synced() {
            return None;
        }
        let mut changed = self.objects.changed();
        let changes = self.related.changes();
        if !changes.is_empty() {
            let touched = self.objects.keys_of(|object| object.touched_by(&changes));
            changed.extend(touched);
        }
        Some(changed.iter().filter_map(|key| self.group(key)).collect())
    }

    fn failure(&self) -> Option<String> {
        self.objects.failure().or_else(|| self.related.failure())
    }
}
