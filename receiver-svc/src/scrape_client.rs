//! One scrape over HTTP: asks a target and reads its answer within bounds.

mod budget;
mod error;

use std::{io::Read, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mesh::{
    config::scrape::ScrapeConfig,
    http_client::{HttpClient, HttpClientError},
};
use tokio::time::timeout;

use crate::exposition::negotiate::accept_header;

pub use budget::{Budget, Reserved};
pub use error::{Failure, ScrapeError};

const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));
/// Room is taken from the budget in steps of this many bytes.
const STEP: usize = 256 << 10;

/// Scrapes the targets of one scrape configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScrapeClient {
    http: HttpClient,
    accept: HeaderValue,
    compression: bool,
    body_size_limit: u64,
    budget: Budget,
}

/// What a target answered.
#[derive(Debug)]
pub struct ScrapedBody {
    /// The body, decompressed.
    pub body: Bytes,
    /// Its `Content-Type`, where there is one.
    pub content_type: Option<String>,
    /// Room in the budget, until the scrape is done with.
    pub reserved: Reserved,
}

// === impl ScrapeClient ===

impl ScrapeClient {
    /// A client for the targets of a scrape configuration.
    ///
    /// # Errors
    /// Where its certificates cannot be used.
    pub fn new(config: &ScrapeConfig, budget: Budget) -> Result<Self, HttpClientError> {
        let accept = accept_header(&config.scrape_protocols, config.metric_name_escaping_scheme);
        Ok(Self {
            http: HttpClient::new(&config.http)?,
            accept: HeaderValue::from_str(&accept)
                .unwrap_or(HeaderValue::from_static("text/plain;version=0.0.4")),
            compression: config.enable_compression,
            body_size_limit: config.body_size_limit,
            budget,
        })
    }

    /// Asks the target at `url`, which has `limit` to answer whole.
    ///
    /// # Errors
    /// Where there is no whole answer with status 200 within the bounds.
    pub async fn scrape(&self, url: &str, limit: Duration) -> Result<ScrapedBody, ScrapeError> {
        match timeout(limit, self.ask(url, limit)).await {
            Ok(answer) => answer,
            Err(_) => Err(ScrapeError::new(
                Failure::Timeout,
                format!("no whole answer within {limit:?}"),
            )),
        }
    }

    async fn ask(&self, url: &str, limit: Duration) -> Result<ScrapedBody, ScrapeError> {
        let mut request = Request::get(url)
            .header(header::ACCEPT, &self.accept)
            .header(header::USER_AGENT, USER_AGENT)
            .header(
                "X-Prometheus-Scrape-Timeout-Seconds",
                limit.as_secs_f64().to_string(),
            );
        if self.compression {
            request = request.header(header::ACCEPT_ENCODING, "gzip");
        }
        let request = request
            .body(Bytes::new())
            .map_err(|error| ScrapeError::new(Failure::Url, format!("{url}: {error}")))?;
        let response = self.http.request(request).await?;
        if response.status() != StatusCode::OK {
            let message = format!("server returned HTTP status {}", response.status());
            return Err(ScrapeError::new(Failure::Status, message));
        }
        let text = |name| {
            let value: Option<&HeaderValue> = response.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let content_type = text(header::CONTENT_TYPE);
        let gzip = text(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        let mut reserved = self.budget.reserve();
        let wire = self
            .collect(response.into_body(), gzip, &mut reserved)
            .await?;
        let body = if gzip {
            self.gunzip(&wire, &mut reserved)?
        } else {
            wire
        };
        Ok(ScrapedBody {
            body,
            content_type,
            reserved,
        })
    }

    async fn collect(
        &self,
        mut body: Incoming,
        compressed: bool,
        reserved: &mut Reserved,
    ) -> Result<Bytes, ScrapeError> {
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| ScrapeError::new(Failure::Connection, e.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            // The limit is on the decompressed body; a compressed one is smaller.
            self.check_size(collected.len() + data.len(), compressed)?;
            reserved.grow_to(collected.len() + data.len(), STEP)?;
            collected.extend_from_slice(&data);
        }
        Ok(collected.freeze())
    }

    fn gunzip(&self, wire: &[u8], reserved: &mut Reserved) -> Result<Bytes, ScrapeError> {
        let mut decoder = flate2::read::MultiGzDecoder::new(wire);
        let mut body = Vec::new();
        let mut chunk = vec![0; STEP.min(64 << 10)];
        loop {
            let n = decoder.read(&mut chunk).map_err(|error| {
                ScrapeError::new(Failure::Compression, format!("gzip: {error}"))
            })?;
            if n == 0 {
                return Ok(body.into());
            }
            self.check_size(body.len() + n, false)?;
            reserved.grow_to(wire.len() + body.len() + n, STEP)?;
            body.extend_from_slice(&chunk[..n]);
        }
    }

    fn check_size(&self, size: usize, compressed: bool) -> Result<(), ScrapeError> {
        let limit = self.body_size_limit;
        if limit > 0 && size as u64 > limit && !compressed {
            let message = format!("body size limit of {limit} bytes exceeded");
            return Err(ScrapeError::new(Failure::BodySizeLimit, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
