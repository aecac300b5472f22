//! Objects of which only the metadata matters.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

use super::Object;

/// A namespace, for its labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// A replica set, for the deployment it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// A job, for the cron job it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// Who controls an object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

fn strip_but_controller(meta: &mut ObjectMeta) {
    super::strip(meta);
    meta.labels = None;
    meta.annotations = None;
}

// === impl Namespace ===

impl Object for Namespace {}

// === impl ReplicaSet ===

impl Object for ReplicaSet {
    fn strip(&mut self) {
        strip_but_controller(&mut self.metadata);
    }
}

// === impl Job ===

impl Object for Job {
    fn strip(&mut self) {
        strip_but_controller(&mut self.metadata);
    }
}
