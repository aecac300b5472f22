//! Objects that are watched for their metadata only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

use super::Object;

/// A namespace, for its labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata of the namespace.
    pub metadata: ObjectMeta,
}

/// A replica set, for the deployment that controls it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata of the replica set.
    pub metadata: ObjectMeta,
}

/// A job, for the cron job that controls it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Metadata of the job.
    pub metadata: ObjectMeta,
}

/// Returns the reference to the controller of an object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// Drops all metadata except the names and the controller reference.
fn keep_controller_only(meta: &mut ObjectMeta) {
    super::strip(meta);
    meta.labels = None;
    meta.annotations = None;
}

// === impl Namespace ===

impl Object for Namespace {}

// === impl ReplicaSet ===

impl Object for ReplicaSet {
    fn strip(&mut self) {
        keep_controller_only(&mut self.metadata);
    }
}

// === impl Job ===

impl Object for Job {
    fn strip(&mut self) {
        keep_controller_only(&mut self.metadata);
    }
}
