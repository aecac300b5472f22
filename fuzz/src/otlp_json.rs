//! Pushes in OTLP/JSON.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

/// Takes the input as the body of a push; what it means survives protobuf.
pub fn run(data: &[u8]) {
    match gateway::json::decode(data) {
        Ok(request) => {
            let encoded = request.encode_to_vec();
            let decoded = ExportMetricsServiceRequest::decode(encoded.as_slice());
            let decoded = decoded.expect("what was encoded is decoded");
            // As text: one NaN is as good as another there.
            assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
