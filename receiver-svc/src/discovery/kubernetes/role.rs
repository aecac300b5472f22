//! Builds target groups from the objects of a role: the part that all roles share.

use std::sync::Arc;

use mesh_model::config::discovery::TargetGroup;

use super::{
    objects::{Object, ObjectKey},
    related::{Changes, Related},
    store::Subscriber,
};

/// An object type that a role discovers targets from.
pub trait Role: Object {
    /// Prefix of the target group sources.
    const SOURCE: &'static str;

    /// Builds the target group of the object. Returns `None` if that is impossible;
    /// the previous group of the object then stays, as in Prometheus.
    fn group(&self, related: &Related) -> Option<TargetGroup>;

    /// Returns true if the changes of related objects affect the targets.
    fn is_affected_by(&self, changes: &Changes) -> bool;

    /// Returns the source of an object's target group.
    fn source(key: &ObjectKey) -> String {
        format!("{}/{key}", Self::SOURCE)
    }
}

/// Builds target groups from watched objects.
pub trait Discover: Send + Sync {
    /// Returns the target groups that have changed since the last call. A group
    /// without targets has been deleted. Returns `None` until all stores are synced.
    fn update(&self) -> Option<Vec<TargetGroup>>;

    /// Returns the failure of the last list or watch request, if there is one.
    fn failure(&self) -> Option<String>;
}

/// Builds the target groups of a role, for one namespace or for all.
#[derive(Debug)]
pub struct Discoverer<R: Role> {
    objects: Subscriber<R>,
    related: Related,
}

// === impl Discoverer ===

impl<R: Role> Discoverer<R> {
    /// Creates a discoverer for these objects and the objects related to them.
    pub fn new(objects: Subscriber<R>, related: Related) -> Self {
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
        let mut changed = self.objects.take_changed();
        let changes = self.related.take_changes();
        if !changes.is_empty() {
            let affected = self
                .objects
                .keys_of(|object| object.is_affected_by(&changes));
            changed.extend(affected);
        }
        Some(changed.iter().filter_map(|key| self.group(key)).collect())
    }

    fn failure(&self) -> Option<String> {
        self.objects.failure().or_else(|| self.related.failure())
    }
}
