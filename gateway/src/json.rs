//! Strict decoder for OTLP/JSON.
//!
//! Follows protobuf's JSON mapping, with OTLP's exception that identifiers are in hex:
//!
//! - Names are in lowerCamelCase. Unknown names are ignored.
//! - `null` stands for the default.
//! - 64-bit integers are strings or numbers.
//! - Doubles are numbers or strings (`"NaN"`, `"Infinity"`, `"1.5"`).
//! - Enumerations are numbers or names.
//!
//! Every other value is an error that names its path. The decoder of `opentelemetry-proto`
//! (feature `serde`) turns such values into empty ones instead, and loses points silently.

mod message;
mod object;
mod scalar;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

/// Error in the body of an OTLP/JSON metrics request.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct JsonError {
    path: String,
    source: serde_json::Error,
}

/// Decodes the body of a `POST /v1/metrics` with `Content-Type: application/json`.
///
/// # Errors
/// Returns an error if the body is not JSON, or a value has the wrong type for its field.
/// The message names the path, line and column of the field.
pub fn decode(body: &[u8]) -> Result<ExportMetricsServiceRequest, JsonError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let request: message::ExportRequest =
        serde_path_to_error::deserialize(&mut json).map_err(|error| JsonError {
            path: error.path().to_string(),
            source: error.into_inner(),
        })?;
    json.end().map_err(|source| JsonError {
        path: ".".to_owned(),
        source,
    })?;
    Ok(request.into())
}

#[cfg(test)]
mod tests;
