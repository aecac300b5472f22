//! Scrape errors and their reasons.

use std::{io, time::Duration};

use http::StatusCode;
use mesh_net::{describe, http_client::HttpClientError};

use super::{
    append::AppendError, bounds::BoundError, labels::LabelsError, limits::LimitError,
    target::uri::UrlError,
};

/// Failed scrape. The target counts as down.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// Invalid target URL.
    #[error("{url}: {source}")]
    Url {
        /// Target URL.
        url: String,
        /// Parse error.
        source: UrlError,
    },
    /// Request without a response.
    #[error(transparent)]
    Request(#[from] HttpClientError),
    /// Response that was not complete within the scrape timeout.
    #[error("no complete response within the scrape timeout of {}", mesh_model::config::duration::format(*.0))]
    Timeout(Duration),
    /// Response with a status other than 200.
    #[error("server returned HTTP status {0}, expected 200 OK")]
    Status(StatusCode),
    /// Response that ended early.
    #[error("reading the body: {}", describe(.0))]
    Body(#[source] hyper::Error),
    /// Response that is compressed with zstd although the scrape did not request it.
    #[error(
        "the target compressed the body with zstd, which the scrape did not request; correct the target or set --scrape.zstd"
    )]
    UnrequestedZstd,
    /// Response that claims to be compressed and cannot be decompressed.
    #[error("decompressing the body: {0}")]
    Compression(#[source] io::Error),
    /// Body beyond the size limit.
    #[error("body size limit exceeded: {limit} bytes or more once decompressed ({setting})")]
    BodySize {
        /// Limit in bytes; the body has to be smaller.
        limit: u64,
        /// Configuration key or flag that sets the limit.
        setting: &'static str,
    },
    /// Memory budget of all running scrapes exceeded.
    #[error(
        "memory budget of all scrapes exceeded at {bytes} bytes of this one (--scrape.memory-budget)"
    )]
    Budget {
        /// Bytes that this scrape had already received.
        bytes: usize,
    },
    /// Job with more targets than its `target_limit`.
    #[error("target_limit exceeded (number of targets: {targets}, limit: {limit})")]
    Targets {
        /// Number of targets.
        targets: u64,
        /// Maximum number of targets.
        limit: u64,
    },
    /// Body that cannot be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Reason of a failed scrape, as a metric label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// Invalid target URL.
    Url,
    /// Connection that could not be opened, or that broke.
    Connection,
    /// Unusable certificate or key, or a failed TLS handshake.
    Tls,
    /// Secret or token that could not be obtained.
    Credentials,
    /// Too many redirects, or an invalid one.
    Redirect,
    /// Scrape timeout.
    Timeout,
    /// Response with a status other than 200.
    HttpStatus,
    /// Response that ended early.
    Body,
    /// Response that could not be decompressed.
    Compression,
    /// `body_size_limit` or `--scrape.max-body-bytes` exceeded.
    BodySizeLimit,
    /// `--scrape.memory-budget` exceeded.
    MemoryBudget,
    /// `--scrape.max-series-bytes` or `--scrape.series-memory-budget` exceeded.
    SeriesMemory,
    /// Line, name, value or help text longer than `--scrape.max-…-bytes` allows.
    TextLimit,
    /// `target_limit` exceeded.
    TargetLimit,
    /// Unknown exposition format.
    ContentType,
    /// Syntax error in the body.
    Parse,
    /// Series with invalid labels.
    Labels,
    /// `label_limit`, `label_name_length_limit` or `label_value_length_limit` exceeded.
    LabelLimit,
    /// `sample_limit` exceeded.
    SampleLimit,
    /// `native_histogram_bucket_limit` exceeded.
    BucketLimit,
    /// Inconsistent native histogram.
    Histogram,
}

// === impl ScrapeError ===

impl ScrapeError {
    /// Returns the reason of this failure.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Url { .. } => FailureReason::Url,
            Self::Request(error) => request_reason(error),
            Self::Timeout(_) => FailureReason::Timeout,
            Self::Status(_) => FailureReason::HttpStatus,
            Self::Body(_) => FailureReason::Body,
            Self::UnrequestedZstd | Self::Compression(_) => FailureReason::Compression,
            Self::BodySize { .. } => FailureReason::BodySizeLimit,
            Self::Budget { .. } => FailureReason::MemoryBudget,
            Self::Targets { .. } => FailureReason::TargetLimit,
            Self::Append(error) => append_reason(error),
        }
    }
}

fn request_reason(error: &HttpClientError) -> FailureReason {
    match error {
        error if error.is_tls() => FailureReason::Tls,
        HttpClientError::Secret { .. }
        | HttpClientError::Header(_)
        | HttpClientError::OAuth2(_) => FailureReason::Credentials,
        HttpClientError::Tls(_) | HttpClientError::Connection(_) => FailureReason::Connection,
        HttpClientError::Redirect(_) => FailureReason::Redirect,
    }
}

fn append_reason(error: &AppendError) -> FailureReason {
    match error {
        AppendError::ContentType(_) => FailureReason::ContentType,
        AppendError::Parse(_) => FailureReason::Parse,
        AppendError::Histogram(_) => FailureReason::Histogram,
        AppendError::Labels(LabelsError::Limit(limit)) | AppendError::Limit(limit) => match limit {
            LimitError::Samples { .. } => FailureReason::SampleLimit,
            LimitError::Buckets { .. } => FailureReason::BucketLimit,
            _ => FailureReason::LabelLimit,
        },
        AppendError::Labels(_) => FailureReason::Labels,
        AppendError::Bound(error) => match error {
            BoundError::Text { .. } => FailureReason::TextLimit,
            BoundError::Series { .. } => FailureReason::SeriesMemory,
            BoundError::Samples { .. } => FailureReason::MemoryBudget,
            BoundError::Timeout(_) => FailureReason::Timeout,
        },
    }
}

// === impl FailureReason ===

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 21] = [
        Self::Url,
        Self::Connection,
        Self::Tls,
        Self::Credentials,
        Self::Redirect,
        Self::Timeout,
        Self::HttpStatus,
        Self::Body,
        Self::Compression,
        Self::BodySizeLimit,
        Self::MemoryBudget,
        Self::SeriesMemory,
        Self::TextLimit,
        Self::TargetLimit,
        Self::ContentType,
        Self::Parse,
        Self::Labels,
        Self::LabelLimit,
        Self::SampleLimit,
        Self::BucketLimit,
        Self::Histogram,
    ];

    /// Name of the reason in metrics and on the status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Redirect => "redirect",
            Self::Timeout => "timeout",
            Self::HttpStatus => "http_status",
            Self::Body => "body",
            Self::Compression => "compression",
            Self::BodySizeLimit => "body_size_limit",
            Self::MemoryBudget => "memory_budget",
            Self::SeriesMemory => "series_memory",
            Self::TextLimit => "text_limit",
            Self::TargetLimit => "target_limit",
            Self::ContentType => "content_type",
            Self::Parse => "parse",
            Self::Labels => "labels",
            Self::LabelLimit => "label_limit",
            Self::SampleLimit => "sample_limit",
            Self::BucketLimit => "bucket_limit",
            Self::Histogram => "histogram",
        }
    }
}
