//! OTLP/JSON, decoded strictly.
//!
//! The rules are protobuf's JSON mapping with OTLP's exceptions (identifiers in
//! hex): names in lowerCamelCase, unknown names ignored, `null` a default,
//! 64-bit integers as strings or numbers, doubles as numbers or strings (`"NaN"`,
//! `"Infinity"`, `"1.5"`), enumerations by number or by name.
//!
//! What is neither is refused with its place. The obvious decoder, the `serde`
//! feature of `opentelemetry-proto`, turns it into an empty value instead, and the
//! point is lost without a word.

mod message;
mod object;
mod scalar;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

/// A body that is not an OTLP/JSON metrics request.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct JsonError {
    path: String,
    source: serde_json::Error,
}

/// Decodes the body of a `POST /v1/metrics` with `Content-Type: application/json`.
///
/// # Errors
/// Where the body is not JSON or a value is not of its field's type; the message
/// names the field's path, line and column.
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
