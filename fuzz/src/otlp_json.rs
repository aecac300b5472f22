//! Target for OTLP/JSON pushes.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

/// Decodes the input as the body of a push. The request must survive a round trip
/// through protobuf.
pub fn run(data: &[u8]) {
    match gateway::json::decode(data) {
        Ok(decoded) => {
            let request = decoded.request;
            let encoded = request.encode_to_vec();
            let decoded = ExportMetricsServiceRequest::decode(encoded.as_slice());
            let decoded = decoded.expect("decodes its own encoding");
            // Compared as text, in which all NaNs are equal.
            assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
