//! The resource that a target is.

use super::attributes;

/// The `Resource` of a target's batches, encoded.
///
/// It is for stock readers only: every data point has all labels of its series.
#[derive(Clone, Debug)]
pub struct Resource(Vec<u8>);

/// `Resource.attributes`.
const ATTRIBUTES: u32 = 1;

// === impl Resource ===

impl Resource {
    /// The resource of a target with these labels.
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
