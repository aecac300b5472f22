//! The `remote_write` and `otlp` sections.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, de::IgnoredAny};
use url::Url;

pub(super) mod sigv4;

use self::sigv4::Sigv4;
use super::{
    http::with_http,
    relabel::{self, Rule},
    scalar::{Text, null_is_zero},
    section::{Context, List, Problem, both, refuse},
};
use crate::{
    config::remote_write::{
        OtlpConfig, ProtobufMessage, QueueConfig, RemoteWriteConfig, TranslationStrategy,
    },
    validation::ValidationScheme,
};

with_http! {
    /// One entry of `remote_write`.
    struct RemoteWrite {
        url: Option<Text<Url>>,
        name: Option<String>,
        remote_timeout: Option<Text<Duration>>,
        headers: Option<BTreeMap<String, String>>,
        write_relabel_configs: List<Rule>,
        #[serde(default, deserialize_with = "null_is_zero")]
        protobuf_message: Option<Text<ProtobufMessage>>,
        send_exemplars: Option<bool>,
        #[serde(default, deserialize_with = "null_is_zero")]
        send_native_histograms: Option<bool>,
        convert_nhcb_to_classic: Option<bool>,
        failed_request_logging: Option<bool>,
        queue_config: Option<Queue>,
        metadata_config: Option<Metadata>,
        sigv4: Option<Sigv4>,
        azuread: Option<IgnoredAny>,
        google_iam: Option<IgnoredAny>,
        // Settings of Prometheus's own sender. Accepted and ignored.
        #[serde(rename = "round_robin_dns")]
        _round_robin_dns: Option<bool>,
    }
}

/// `queue_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Queue {
    capacity: Option<usize>,
    max_shards: Option<usize>,
    min_shards: Option<usize>,
    max_samples_per_send: Option<usize>,
    // Ignored: the exporter does not wait to fill a batch.
    #[serde(rename = "batch_send_deadline")]
    _batch_send_deadline: Option<Text<Duration>>,
    min_backoff: Option<Text<Duration>>,
    max_backoff: Option<Text<Duration>>,
    // Ignored: 429 is always retried.
    #[serde(rename = "retry_on_http_429")]
    _retry_on_http_429: Option<bool>,
    sample_age_limit: Option<Text<Duration>>,
}

/// `metadata_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Metadata {
    #[serde(default, deserialize_with = "null_is_zero")]
    send: Option<bool>,
    send_interval: Option<Text<Duration>>,
    max_samples_per_send: Option<usize>,
}

/// `otlp`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Otlp {
    promote_all_resource_attributes: Option<bool>,
    promote_resource_attributes: Option<Vec<String>>,
    ignore_resource_attributes: Option<Vec<String>>,
    translation_strategy: Option<Text<TranslationStrategy>>,
    keep_identifying_resource_attributes: Option<bool>,
    convert_histograms_to_nhcb: Option<bool>,
    promote_scope_metadata: Option<bool>,
    #[serde(default, deserialize_with = "null_is_zero")]
    label_name_underscore_sanitization: Option<bool>,
    #[serde(default, deserialize_with = "null_is_zero")]
    label_name_preserve_multiple_underscores: Option<bool>,
}

/// Headers that the exporter or its HTTP client sets itself.
const RESERVED_HEADERS: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "user-agent",
    "www-authenticate",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
];

// === impl RemoteWrite ===

impl RemoteWrite {
    pub(in crate::config_file) fn build(
        mut self,
        validation: ValidationScheme,
        context: Context<'_>,
    ) -> Result<RemoteWriteConfig, Problem> {
        refuse(
            "use sigv4, oauth2 or authorization",
            [
                ("azuread", self.azuread.is_some()),
                ("google_iam", self.google_iam.is_some()),
            ],
        )?;
        let url = self
            .url
            .take()
            .ok_or_else(|| Problem::new("url for remote_write is empty"));
        let headers = self.headers.take().unwrap_or_default();
        let enable_http2 = self.enable_http2.unwrap_or(false);
        let http = self.take_http().build(context);
        let rules = relabel::build(
            self.write_relabel_configs.take(),
            "relabeling rule in remote write config",
            validation,
        );
        let sigv4 = self.sigv4.take().map(Sigv4::build).transpose();
        let queue = self.queue_config.take().unwrap_or_default().build();
        let client = both(both(check_headers(&headers), http), both(sigv4, queue));
        let (client, (url, write_relabel_configs)) = both(client, both(url, rules))?;
        let (((), mut http), (sigv4, queue)) = client;
        let url = url.0;
        http.enable_http2 = enable_http2;
        if http.auth.is_some() && sigv4.is_some() {
            return Err(Problem::new(
                "at most one of basic_auth, authorization, oauth2, sigv4 must be configured",
            ));
        }
        let metadata = self.metadata_config.take().unwrap_or_default();
        let name = self.name.take().filter(|name| !name.is_empty());
        Ok(RemoteWriteConfig {
            name: name.unwrap_or_else(|| {
                format!(
                    "{:06x}",
                    xxhash_rust::xxh3::xxh3_64(url.as_str().as_bytes()) >> 40
                )
            }),
            remote_timeout: self.remote_timeout.map_or(Duration::from_secs(30), |t| t.0),
            headers,
            write_relabel_configs,
            protobuf_message: self
                .protobuf_message
                .take()
                .map_or_else(Default::default, |m| m.0),
            send_exemplars: self.send_exemplars.unwrap_or(false),
            // Prometheus defaults to false. AMP accepts native histograms, so dropping them
            // would lose data.
            send_native_histograms: self.send_native_histograms.unwrap_or(true),
            failed_request_logging: self.failed_request_logging.unwrap_or(false),
            convert_nhcb_to_classic: self.convert_nhcb_to_classic.unwrap_or(false),
            sigv4,
            http,
            queue,
            send_metadata: metadata.send.unwrap_or(true),
            metadata_send_interval: metadata
                .send_interval
                .map_or(Duration::from_secs(60), |i| i.0),
            metadata_per_send: metadata.max_samples_per_send.unwrap_or(2000).max(1),
            url,
        })
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            return Err(Problem::new(
                "authorization header must be changed via the basic_auth, authorization, oauth2 or sigv4 parameter",
            ));
        }
        if RESERVED_HEADERS.contains(&lower.as_str()) {
            return Err(Problem::new(format!(
                "{lower} is a reserved header. It must not be changed"
            )));
        }
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err()
        {
            return Err(Problem::new(format!(
                "header {name:?}: invalid name or value"
            )));
        }
    }
    Ok(())
}

// === impl Queue ===

impl Queue {
    fn build(self) -> Result<QueueConfig, Problem> {
        let positive = |value: Option<usize>, name: &str, default: usize| match value {
            Some(0) => Err(Problem::new(format!(
                "remote write queue {name} must be positive"
            ))),
            given => Ok(given.unwrap_or(default)),
        };
        positive(self.capacity, "capacity", 1)?;
        let max_shards = positive(self.max_shards, "max_shards", 50)?;
        if positive(self.min_shards, "min_shards", 1)? > max_shards {
            return Err(Problem::new(
                "remote write queue min_shards must not be greater than max_shards",
            ));
        }
        let min_backoff = self.min_backoff.map_or(Duration::from_millis(30), |d| d.0);
        let max_backoff = self.max_backoff.map_or(Duration::from_secs(5), |d| d.0);
        if max_backoff < min_backoff {
            return Err(Problem::new(
                "remote write queue max_backoff must not be less than min_backoff",
            ));
        }
        Ok(QueueConfig {
            max_samples_per_send: positive(
                self.max_samples_per_send,
                "max_samples_per_send",
                10_000,
            )?,
            max_shards,
            min_backoff,
            max_backoff,
            sample_age_limit: self.sample_age_limit.map_or(Duration::ZERO, |d| d.0),
        })
    }
}

// === impl Otlp ===

impl Otlp {
    pub(in crate::config_file) fn build(
        self,
        validation: ValidationScheme,
    ) -> Result<OtlpConfig, Problem> {
        let translation_strategy = self
            .translation_strategy
            .map_or_else(Default::default, |s| s.0);
        let keeps_utf8 = match translation_strategy {
            TranslationStrategy::NoUtf8EscapingWithSuffixes => Some("NoUTF8EscapingWithSuffixes"),
            TranslationStrategy::NoTranslation => Some("NoTranslation"),
            _ => None,
        };
        if let (Some(name), ValidationScheme::Legacy) = (keeps_utf8, validation) {
            return Err(Problem::new(format!(
                "OTLP translation strategy {name:?} is not allowed when UTF8 is disabled"
            )));
        }
        let all = self.promote_all_resource_attributes.unwrap_or(false);
        let promoted = self.promote_resource_attributes.unwrap_or_default();
        let ignored = self.ignore_resource_attributes.unwrap_or_default();
        if all && !promoted.is_empty() {
            return Err(Problem::new(
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
            ));
        }
        if !all && !ignored.is_empty() {
            return Err(Problem::new(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
            ));
        }
        Ok(OtlpConfig {
            promote_resource_attributes: attributes(promoted, "promote_resource_attributes")?,
            promote_all_resource_attributes: all,
            ignore_resource_attributes: attributes(ignored, "ignore_resource_attributes")?,
            translation_strategy,
            keep_identifying_resource_attributes: self
                .keep_identifying_resource_attributes
                .unwrap_or(false),
            convert_histograms_to_nhcb: self.convert_histograms_to_nhcb.unwrap_or(false),
            promote_scope_metadata: self.promote_scope_metadata.unwrap_or(false),
            label_name_underscore_sanitization: self
                .label_name_underscore_sanitization
                .unwrap_or(true),
            label_name_preserve_multiple_underscores: self
                .label_name_preserve_multiple_underscores
                .unwrap_or(true),
        })
    }
}

/// Trims the attribute names. Rejects empty and duplicate names.
fn attributes(names: Vec<String>, key: &str) -> Result<Vec<String>, Problem> {
    let mut seen = HashSet::new();
    let mut trimmed = Vec::new();
    for name in &names {
        let name = name.trim();
        if name.is_empty() {
            return Err(Problem::new(format!(
                "invalid '{key}': an empty attribute name"
            )));
        }
        if !seen.insert(name) {
            return Err(Problem::new(format!(
                "invalid '{key}': duplicated attribute {name:?}"
            )));
        }
        trimmed.push(name.to_owned());
    }
    Ok(trimmed)
}
