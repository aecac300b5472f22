//! Strict decoder for OTLP/JSON.
//!
//! Follows protobuf's JSON mapping, with OTLP's exception that identifiers are in hex:
//!
//! - Names are in lowerCamelCase. Unknown names are ignored.
//! - `null` stands for the default. As a number of a data point it makes the point invalid:
//!   `JSON.stringify` writes it for NaN and Infinity, which are not zero.
//! - 64-bit integers are strings or numbers.
//! - Doubles are numbers or strings (`"NaN"`, `"Infinity"`, `"1.5"`).
//! - Enumerations are numbers or names.
//!
//! Text that is not UTF-8, and escapes of lone surrogates, become U+FFFD. The points of a
//! metric with such a name are rejected.
//!
//! Every other value is an error that names its path. The decoder of `opentelemetry-proto`
//! (feature `serde`) turns such values into empty ones instead, and loses points silently.

mod message;
mod object;
mod scalar;
mod text;
mod wording;

use crate::decoded::Decoded;

/// Error in the body of an OTLP/JSON metrics request.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {}", wording::describe(source))]
pub struct JsonError {
    path: String,
    source: serde_json::Error,
}

/// Path of an error that is in no field.
const BODY: &str = "body";

/// Bytes of a decoded object: the largest frequent message while its list grows, and its copy
/// during conversion.
const OBJECT: usize = 800;
/// Bytes of an element of a list, and of a field of an object.
const ELEMENT: usize = 160;

/// Estimates the memory of a decoded request in bytes, before it is decoded. Counts braces and
/// commas, also those in strings.
pub fn decoded_bytes(body: &[u8]) -> usize {
    let (mut objects, mut elements) = (1, 0_usize);
    for byte in body {
        objects += usize::from(*byte == b'{');
        elements += usize::from(*byte == b',');
    }
    body.len() + objects * OBJECT + elements * ELEMENT
}

/// Decodes the body of a `POST /v1/metrics` with `Content-Type: application/json`.
///
/// # Errors
/// Returns an error if the body is not JSON, or a value has the wrong type for its field.
/// The message names the path, line and column of the field.
pub fn decode(body: &[u8]) -> Result<Decoded, JsonError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut request: message::ExportRequest =
        serde_path_to_error::deserialize(&mut json).map_err(|error| JsonError {
            path: match error.path().to_string().as_str() {
                "." => BODY.to_owned(),
                path => path.to_owned(),
            },
            source: error.into_inner(),
        })?;
    json.end().map_err(|source| JsonError {
        path: BODY.to_owned(),
        source,
    })?;
    let rejected = request.remove_invalid();
    Ok(Decoded {
        request: request.into(),
        rejected,
        is_repaired: text::has_invalid(body),
    })
}

#[cfg(test)]
mod tests;
