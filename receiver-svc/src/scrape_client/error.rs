//! Why a scrape failed.

use mesh::http_client::HttpClientError;

/// Why a scrape failed: a bounded set, fit for a metric's label (law 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// The target's URL is not one.
    Url,
    /// Connecting failed, or the connection did.
    Connection,
    /// A certificate, key or handshake was no good.
    Tls,
    /// A secret or token could not be had.
    Credentials,
    /// No whole answer in time.
    Timeout,
    /// A status other than 200.
    Status,
    /// Not gzip although it says so.
    Compression,
    /// `body_size_limit`.
    BodySizeLimit,
    /// The process' memory for scrapes is used up.
    MemoryBudget,
    /// No content type, or one that is unknown.
    ContentType,
    /// Not the format it claims to be.
    Parse,
    /// `sample_limit`, `label_limit` or one of its kin.
    Limit,
    /// Labels that cannot be stored.
    Labels,
    /// `target_limit`.
    TargetLimit,
}

/// A scrape that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScrapeError {
    /// Why, for counting.
    pub failure: Failure,
    message: String,
}

// === impl Failure ===

impl Failure {
    /// The reason's name in metrics and on the status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Compression => "compression",
            Self::BodySizeLimit => "body_size_limit",
            Self::MemoryBudget => "memory_budget",
            Self::ContentType => "content_type",
            Self::Parse => "parse",
            Self::Limit => "limit",
            Self::Labels => "labels",
            Self::TargetLimit => "target_limit",
        }
    }
}

// === impl ScrapeError ===

impl ScrapeError {
    /// A failure and the words for whoever reads the status page.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { failure, message }
    }
}

impl From<HttpClientError> for ScrapeError {
    fn from(error: HttpClientError) -> Self {
        let failure = match &error {
            HttpClientError::Tls(_) => Failure::Tls,
            HttpClientError::Secret { .. }
            | HttpClientError::Header(_)
            | HttpClientError::OAuth2(_) => Failure::Credentials,
            HttpClientError::Connection(_) | HttpClientError::Redirect(_) => Failure::Connection,
        };
        Self::new(failure, error.to_string())
    }
}
