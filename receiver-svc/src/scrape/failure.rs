//! Why a scrape failed.

use std::{io, time::Duration};

use http::{StatusCode, uri::InvalidUri};
use mesh::http_client::HttpClientError;

use super::{append::AppendError, labels::LabelsError, limits::LimitError};

/// A scrape that failed. The target is down.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The target's URL is none.
    #[error("{url}: {source}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// There was no response.
    #[error(transparent)]
    Request(#[from] HttpClientError),
    /// It took too long.
    #[error("no complete response within the scrape timeout of {}", mesh::config::duration::format(*.0))]
    Timeout(Duration),
    /// The response is not what was asked for.
    #[error("server returned HTTP status {0}, expected 200 OK")]
    Status(StatusCode),
    /// The response broke off.
    #[error("reading the body: {0}")]
    Body(#[source] hyper::Error),
    /// The response is not gzip, although it says so.
    #[error("decompressing the body: {0}")]
    Compression(#[source] io::Error),
    /// The body is too long.
    #[error("body size limit exceeded: {limit} bytes or more once decompressed ({what})")]
    BodySize {
        /// How many bytes it may not reach.
        limit: u64,
        /// Who says so.
        what: &'static str,
    },
    /// All running scrapes together have too much in memory.
    #[error(
        "memory budget of all scrapes exceeded at {bytes} bytes of this one (--scrape.memory-budget)"
    )]
    Budget {
        /// What this scrape had already.
        bytes: usize,
    },
    /// The job has too many targets.
    #[error("target_limit exceeded (number of targets: {targets}, limit: {limit})")]
    Targets {
        /// How many it has.
        targets: u64,
        /// How many it may have.
        limit: u64,
    },
    /// The body cannot be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The kinds of failures: a bounded set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The target's URL is none.
    Url,
    /// No connection, or one that died.
    Connection,
    /// A certificate or a key cannot be used.
    Tls,
    /// Secrets or tokens cannot be had.
    Credentials,
    /// The target redirects for ever or to nowhere.
    Redirect,
    /// It took too long.
    Timeout,
    /// The response's status was not 200.
    HttpStatus,
    /// The response broke off.
    Body,
    /// The response cannot be decompressed.
    Compression,
    /// `body_size_limit`, or the limit of the process.
    BodySizeLimit,
    /// The memory budget of the process.
    MemoryBudget,
    /// `target_limit`.
    TargetLimit,
    /// No known exposition format.
    ContentType,
    /// The body is not of its format.
    Parse,
    /// A series whose labels cannot be stored.
    Labels,
    /// `label_limit` and its relatives.
    LabelLimit,
    /// `sample_limit`.
    SampleLimit,
    /// `native_histogram_bucket_limit`.
    BucketLimit,
    /// A native histogram that is not consistent.
    Histogram,
}

// === impl ScrapeError ===

impl ScrapeError {
    /// The kind of failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Url { .. } => Reason::Url,
            Self::Request(error) => of_request(error),
            Self::Timeout(_) => Reason::Timeout,
            Self::Status(_) => Reason::HttpStatus,
            Self::Body(_) => Reason::Body,
            Self::Compression(_) => Reason::Compression,
            Self::BodySize { .. } => Reason::BodySizeLimit,
            Self::Budget { .. } => Reason::MemoryBudget,
            Self::Targets { .. } => Reason::TargetLimit,
            Self::Append(error) => of_append(error),
        }
    }
}

fn of_request(error: &HttpClientError) -> Reason {
    match error {
        HttpClientError::Tls(_) => Reason::Tls,
        HttpClientError::Secret { .. }
        | HttpClientError::Header(_)
        | HttpClientError::OAuth2(_) => Reason::Credentials,
        HttpClientError::Connection(_) => Reason::Connection,
        HttpClientError::Redirect(_) => Reason::Redirect,
    }
}

fn of_append(error: &AppendError) -> Reason {
    match error {
        AppendError::ContentType(_) => Reason::ContentType,
        AppendError::Parse(_) => Reason::Parse,
        AppendError::Histogram(_) => Reason::Histogram,
        AppendError::Labels(LabelsError::Limit(limit)) | AppendError::Limit(limit) => match limit {
            LimitError::Samples { .. } => Reason::SampleLimit,
            LimitError::Buckets { .. } => Reason::BucketLimit,
            _ => Reason::LabelLimit,
        },
        AppendError::Labels(_) => Reason::Labels,
    }
}

// === impl Reason ===

impl Reason {
    /// All kinds.
    pub const ALL: [Self; 19] = [
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
        Self::TargetLimit,
        Self::ContentType,
        Self::Parse,
        Self::Labels,
        Self::LabelLimit,
        Self::SampleLimit,
        Self::BucketLimit,
        Self::Histogram,
    ];

    /// Its name in metrics and on the status page.
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
