//! Encodes the OTLP resource of a target.

use crate::samples::attributes;

/// Encoded `Resource` of a target's batches.
///
/// Only third-party OTLP readers need it. Every data point carries all labels of its
/// series.
#[derive(Clone, Debug)]
pub struct Resource(Vec<u8>);

/// `Resource.attributes`.
const ATTRIBUTES: u32 = 1;

// === impl Resource ===

impl Resource {
    /// Encodes the resource of a target from its `job` and `instance` labels.
    pub fn new(job: &str, instance: &str) -> Self {
        let mut encoded = Vec::new();
        attributes::put(ATTRIBUTES, "service.name", job, &mut encoded);
        attributes::put(ATTRIBUTES, "service.instance.id", instance, &mut encoded);
        Self(encoded)
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.0
    }
}
