//! Negotiates the exposition format with a target.

mod media_type;

use std::fmt::Write as _;

use mesh_model::config::scrape::{EscapingScheme, ScrapeProtocol};

pub use self::media_type::MediaTypeError;

/// Exposition format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Prometheus text format, 0.0.4 or 1.0.0.
    Text,
    /// OpenMetrics text, 0.0.1 or 1.0.0.
    OpenMetrics,
    /// Delimited protobuf messages, one per family.
    Protobuf,
}

/// The `Content-Type` of a response names no exposition format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// The header is missing or empty.
    #[error(
        "the target sent no Content-Type and the job has no fallback_scrape_protocol; \
         set it to the format of the target"
    )]
    Missing,
    /// The header is not a media type.
    #[error("Content-Type {content_type:?}: {source}")]
    Malformed {
        /// Header value that the target sent.
        content_type: String,
        /// Reason why it is not a media type.
        source: MediaTypeError,
    },
    /// The format is OpenMetrics 2.0.
    #[error(
        "Content-Type {content_type:?}: OpenMetrics 2.0 is not supported, since the format is \
         not stable yet; configure the target to send OpenMetrics 1.0.0 or text"
    )]
    OpenMetrics2 {
        /// Header value that the target sent.
        content_type: String,
    },
    /// The media type is not an exposition format.
    #[error(
        "Content-Type {content_type:?} is not an exposition format, expected text/plain, \
         application/openmetrics-text or application/vnd.google.protobuf; correct the \
         target or set fallback_scrape_protocol"
    )]
    Unsupported {
        /// Header value that the target sent.
        content_type: String,
    },
}

/// Builds an `Accept` header for `protocols`, in order of preference.
///
/// Formats with quoted names get the `escaping` parameter, others do not. The header
/// ends with `*/*`, because some targets reject a request without it.
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut header = String::new();
    // There are five protocols, so `*/*` has a weight of at least 1.
    let mut weight = 6_usize;
    for &protocol in protocols {
        header.push_str(media_range(protocol));
        if matches!(
            protocol,
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0
        ) {
            header.push_str(";escaping=");
            header.push_str(escaping_name(escaping));
        }
        // Writing to a string never fails.
        let _ = write!(header, ";q=0.{weight},");
        weight = weight.saturating_sub(1);
    }
    let _ = write!(header, "*/*;q=0.{weight}");
    header
}

fn media_range(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::PrometheusProto => {
            "application/vnd.google.protobuf;\
             proto=io.prometheus.client.MetricFamily;encoding=delimited"
        }
        ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
        ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
    }
}

fn escaping_name(escaping: EscapingScheme) -> &'static str {
    match escaping {
        EscapingScheme::AllowUtf8 => "allow-utf-8",
        EscapingScheme::Underscores => "underscores",
        EscapingScheme::Dots => "dots",
        EscapingScheme::Values => "values",
    }
}

// === impl Format ===

impl Format {
    /// Returns the format that `content_type` names, or else the format of `fallback`.
    ///
    /// # Errors
    /// Returns an error if `content_type` names no format and there is no fallback.
    pub fn negotiated(
        content_type: Option<&str>,
        fallback: Option<ScrapeProtocol>,
    ) -> Result<Self, ContentTypeError> {
        Self::from_content_type(content_type).or_else(|error| fallback.map(Self::from).ok_or(error))
    }

    /// Returns the format that `content_type` names.
    ///
    /// # Errors
    /// Returns an error if it names no exposition format. Callers log this even if there
    /// is a fallback, because the target violates the protocol.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, ContentTypeError> {
        let Some(content_type) = content_type.filter(|text| !text.is_empty()) else {
            return Err(ContentTypeError::Missing);
        };
        let media_type = media_type::parse(content_type).map_err(|source| {
            let content_type = content_type.to_owned();
            ContentTypeError::Malformed {
                content_type,
                source,
            }
        })?;
        let version = media_type.version.unwrap_or_default();
        match media_type.essence.as_str() {
            "application/openmetrics-text" if version.starts_with("2.") => {
                Err(ContentTypeError::OpenMetrics2 {
                    content_type: content_type.to_owned(),
                })
            }
            "text/plain" => Ok(Self::Text),
            "application/openmetrics-text" => Ok(Self::OpenMetrics),
            "application/vnd.google.protobuf" => Ok(Self::Protobuf),
            _ => Err(ContentTypeError::Unsupported {
                content_type: content_type.to_owned(),
            }),
        }
    }
}

impl From<ScrapeProtocol> for Format {
    fn from(protocol: ScrapeProtocol) -> Self {
        match protocol {
            ScrapeProtocol::PrometheusProto => Self::Protobuf,
            ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Self::Text,
            ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                Self::OpenMetrics
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_orders_by_weight_and_sends_escaping_to_newer_formats_only() {
        let protocols = [
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::PrometheusText0_0_4,
        ];
        assert_eq!(
            accept_header(&protocols, EscapingScheme::Values),
            "application/openmetrics-text;version=1.0.0;escaping=values;q=0.6,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
        );
    }

    #[test]
    fn refuses_openmetrics_2() {
        let two = Some("application/openmetrics-text; version=2.0.0; charset=utf-8");
        let error = Format::negotiated(two, None).unwrap_err().to_string();
        assert!(
            error.contains("OpenMetrics 2.0 is not supported"),
            "{error}"
        );
        let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
        assert_eq!(Format::negotiated(two, fallback), Ok(Format::Text));
        let one = Some("application/openmetrics-text; version=1.0.0");
        assert_eq!(Format::negotiated(one, None), Ok(Format::OpenMetrics));
    }

    #[test]
    fn uses_the_fallback_for_unsupported_content_types_only() {
        let fallback = Some(ScrapeProtocol::PrometheusProto);
        assert_eq!(
            Format::negotiated(Some("text/plain"), fallback),
            Ok(Format::Text)
        );
        assert_eq!(
            Format::negotiated(Some("text/html"), fallback),
            Ok(Format::Protobuf)
        );
        assert_eq!(Format::negotiated(None, fallback), Ok(Format::Protobuf));
        assert_eq!(
            Format::negotiated(None, None),
            Err(ContentTypeError::Missing)
        );
    }
}
