//! Decodes pushed resources, also those with strings that are not UTF-8.

use std::sync::Once;

use mesh_contract::verdict::Reason;
use mesh_wire::{
    otlp::{
        cost::Cost,
        schema::Kind,
        utf8::{INVALID_NAME, repair},
    },
    protobuf::WireError,
};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use prost::Message;
use tracing::warn;

use super::OtlpTranslator;

/// Logs the first repair of the process. The gateway names each client that needs one.
static FIRST_REPAIR: Once = Once::new();

// === impl OtlpTranslator ===

impl OtlpTranslator<'_> {
    /// Translates an encoded `ResourceMetrics`. Strings that are not UTF-8 are repaired;
    /// metrics whose names are not UTF-8 are rejected.
    ///
    /// # Errors
    /// Returns an error if the bytes are malformed.
    pub fn encoded_resource_metrics(&mut self, resource: &[u8]) -> Result<(), WireError> {
        let cost = Cost::of(Kind::ResourceMetrics, resource);
        // Points are sorted, which takes half of their memory again.
        let bytes = cost.bytes.saturating_add(cost.bytes / 2);
        match self.sink.reserve(bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                self.sink.count(cost.points);
                self.sink
                    .reject(Reason::TooLarge, cost.points, || error.to_string());
                return Ok(());
            }
        }
        let decoded = self.decoded_resource_metrics(resource);
        self.sink.release(bytes);
        decoded
    }

    fn decoded_resource_metrics(&mut self, resource: &[u8]) -> Result<(), WireError> {
        let metrics = match ResourceMetrics::decode(resource) {
            Ok(metrics) => metrics,
            Err(error) => self.repaired(resource).ok_or(error)??,
        };
        self.resource_metrics(metrics);
        Ok(())
    }

    /// Decodes a resource after its repair. Returns `None` if there is nothing to repair.
    fn repaired(&mut self, resource: &[u8]) -> Option<Result<ResourceMetrics, WireError>> {
        let repaired = repair(Kind::ResourceMetrics, resource)?;
        FIRST_REPAIR.call_once(|| {
            warn!("Strings of a push are not UTF-8; invalid bytes become U+FFFD");
        });
        for metric in repaired.removed {
            self.sink.count(metric.points);
            self.sink.reject(Reason::InvalidName, metric.points, || {
                format!("metric {:?}: {INVALID_NAME}", metric.name)
            });
        }
        Some(ResourceMetrics::decode(&*repaired.message).map_err(WireError::from))
    }
}
