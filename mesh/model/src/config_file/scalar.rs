//! Scalar values, parsed and checked at their place in the file.

use std::{fmt::Display, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    config::{
        LogLevel, Secret, duration,
        http::TlsVersion,
        relabel::Action,
        remote_write::{ProtobufMessage, TranslationStrategy},
        scrape::{EscapingScheme, ScrapeProtocol},
        size,
    },
    go_regexp::Regexp,
    validation::ValidationScheme,
};

/// A value that is parsed from a YAML string.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config_file) struct Text<T>(pub(in crate::config_file) T);

/// A type that can be parsed from text.
pub(in crate::config_file) trait FromText: Sized {
    /// Parses `text`. The error is a message for the user.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Reads the value of a key whose default is not the zero of its type. A null counts as zero,
/// as in Go; the default applies only if the key is not given.
///
/// For use as `#[serde(default, deserialize_with = "null_is_zero")]`.
pub(in crate::config_file) fn null_is_zero<'de, D, T>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl FromText for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        duration::parse(text).map_err(text_of)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config_file) struct Size(pub(in crate::config_file) u64);

impl FromText for Size {
    fn from_text(text: &str) -> Result<Self, String> {
        size::parse(text).map(Self).map_err(text_of)
    }
}

impl FromText for Regexp {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(text_of)
    }
}

impl FromText for Secret {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

impl FromText for url::Url {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error| format!("{text:?} is not a URL: {error}"))
    }
}

/// Implements [`FromText`] for types with a fixed set of keywords.
macro_rules! keywords {
    ($($type:ty, $what:literal: { $($keyword:literal => $value:expr,)* })*) => {$(
        impl FromText for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($keyword => Ok($value),)*
                    _ => Err(unknown($what, text, &[$($keyword),*])),
                }
            }
        }
    )*};
}

keywords! {
    LogLevel, "log level": {
        "debug" => Self::Debug,
        "info" => Self::Info,
        "warn" => Self::Warn,
        "error" => Self::Error,
    }
    ValidationScheme, "metric_name_validation_scheme": {
        "utf8" => Self::Utf8,
        "legacy" => Self::Legacy,
    }
    EscapingScheme, "metric_name_escaping_scheme": {
        "allow-utf-8" => Self::AllowUtf8,
        "underscores" => Self::Underscores,
        "dots" => Self::Dots,
        "values" => Self::Values,
    }
    ProtobufMessage, "protobuf_message": {
        "prometheus.WriteRequest" => Self::V1,
        "io.prometheus.write.v2.Request" => Self::V2,
    }
    TranslationStrategy, "OTLP translation strategy": {
        "UnderscoreEscapingWithSuffixes" => Self::UnderscoreEscapingWithSuffixes,
        "UnderscoreEscapingWithoutSuffixes" => Self::UnderscoreEscapingWithoutSuffixes,
        "NoUTF8EscapingWithSuffixes" => Self::NoUtf8EscapingWithSuffixes,
        "NoTranslation" => Self::NoTranslation,
    }
    TlsVersion, "TLS version": {
        "TLS10" => Self::Tls10,
        "TLS11" => Self::Tls11,
        "TLS12" => Self::Tls12,
        "TLS13" => Self::Tls13,
    }
}

impl FromText for ScrapeProtocol {
    fn from_text(text: &str) -> Result<Self, String> {
        const ALL: [(&str, ScrapeProtocol); 5] = [
            ("PrometheusProto", ScrapeProtocol::PrometheusProto),
            ("PrometheusText0.0.4", ScrapeProtocol::PrometheusText0_0_4),
            ("PrometheusText1.0.0", ScrapeProtocol::PrometheusText1_0_0),
            ("OpenMetricsText0.0.1", ScrapeProtocol::OpenMetricsText0_0_1),
            ("OpenMetricsText1.0.0", ScrapeProtocol::OpenMetricsText1_0_0),
        ];
        if text == "OpenMetricsText2.0.0" {
            return Err(
                "scrape protocol OpenMetricsText2.0.0 is not supported: its format is not stable yet, use OpenMetricsText1.0.0"
                    .to_owned(),
            );
        }
        let known = ALL.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, protocol)| *protocol)
            .ok_or_else(|| unknown("scrape protocol", text, &ALL.map(|(name, _)| name)))
    }
}

impl FromText for Action {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(text_of)
    }
}

fn unknown(what: &str, found: &str, expected: &[&str]) -> String {
    format!(
        "unknown {what} {found:?}, expected one of {}",
        expected.join(", ")
    )
}

fn text_of(error: impl Display) -> String {
    error.to_string()
}
