//! Which format a target is asked for, and which one it answered with.

mod media_type;

use std::fmt::Write as _;

use mesh::config::scrape::{EscapingScheme, ScrapeProtocol};

pub use self::media_type::MediaTypeError;

/// How a body is written.
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
    /// There is none.
    #[error("the target sent no Content-Type, and the job has no fallback_scrape_protocol")]
    Blank,
    /// It is not a media type.
    #[error("Content-Type {content_type:?}: {source}")]
    Malformed {
        /// What the target sent.
        content_type: String,
        /// What is wrong with it.
        source: MediaTypeError,
    },
    /// It is a media type of something else.
    #[error(
        "Content-Type {content_type:?} is no exposition format, expected text/plain, \
         application/openmetrics-text or application/vnd.google.protobuf, or a \
         fallback_scrape_protocol"
    )]
    Unsupported {
        /// What the target sent.
        content_type: String,
    },
}

/// The `Accept` header that asks for `protocols`, the preferred first, with
/// names in the form that `escaping` says.
///
/// Formats without quoted names get no escaping parameter. Anything else is
/// accepted last, as some targets refuse to answer otherwise.
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut header = String::new();
    // One more than there are protocols, so that all fit above `*/*`.
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
        // Writing to a string does not fail.
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
    /// The format that `content_type` names, else that of `fallback`.
    ///
    /// # Errors
    /// Where there is no fallback either.
    pub fn of(
        content_type: Option<&str>,
        fallback: Option<ScrapeProtocol>,
    ) -> Result<Self, ContentTypeError> {
        Self::named(content_type).or_else(|error| fallback.map(Self::from).ok_or(error))
    }

    /// The format that `content_type` names.
    ///
    /// # Errors
    /// Where it names none, which is worth a log line also if there is a
    /// fallback: the target does not comply.
    pub fn named(content_type: Option<&str>) -> Result<Self, ContentTypeError> {
        let Some(content_type) = content_type.filter(|text| !text.is_empty()) else {
            return Err(ContentTypeError::Blank);
        };
        let media_type = media_type::parse(content_type).map_err(|source| {
            let content_type = content_type.to_owned();
            ContentTypeError::Malformed {
                content_type,
                source,
            }
        })?;
        match media_type.as_str() {
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
    fn weights_fall_and_only_newer_formats_are_told_the_escaping() {
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
    fn a_fallback_stands_in_for_what_is_not_known_only() {
        let fallback = Some(ScrapeProtocol::PrometheusProto);
        assert_eq!(Format::of(Some("text/plain"), fallback), Ok(Format::Text));
        assert_eq!(
            Format::of(Some("text/html"), fallback),
            Ok(Format::Protobuf)
        );
        assert_eq!(Format::of(None, fallback), Ok(Format::Protobuf));
        assert_eq!(Format::of(None, None), Err(ContentTypeError::Blank));
    }
}
