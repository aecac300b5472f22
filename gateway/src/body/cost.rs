//! Estimates the memory of a push before it is decoded.

use mesh_wire::otlp::{cost::Cost, schema::Kind};

use crate::json;

/// Bytes of a resource beside its decoded form: the identity that the gateway adds, and the
/// batch in the outbox and in the retry cache.
const RESOURCE: usize = 2 << 10;
/// Estimates the memory of a protobuf request in bytes: the request, its decoded form, and the
/// batches that are encoded from that.
pub(super) fn estimate_protobuf(bytes: &[u8]) -> usize {
    let cost = Cost::of(Kind::Request, bytes);
    let resources = cost.resources.saturating_mul(RESOURCE);
    cost.bytes
        .saturating_add(resources)
        .saturating_add(2 * bytes.len())
}

/// Estimates the memory of a JSON request in bytes, like [`estimate_protobuf`].
pub(super) fn estimate_json(bytes: &[u8]) -> usize {
    json::decoded_bytes(bytes).saturating_add(2 * bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_the_identity_and_the_batch_of_an_empty_resource() {
        let resources = [0x0a, 0].repeat(1000);
        assert!(estimate_protobuf(&resources) > 1000 * RESOURCE);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(estimate_protobuf(&bytes) >= bytes.len());
            prop_assert!(estimate_json(&bytes) >= bytes.len());
        }
    }
}
