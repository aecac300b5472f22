//! `http_sd_configs`: target groups from an HTTP endpoint.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh::{
    config::{
        discovery::{HttpConfig, TargetGroup, parse_target_groups_json},
        duration,
    },
    http_client::{HttpClient, HttpClientError},
};
use tokio::time::timeout;
use tracing::warn;

use super::{DiscoveryMetrics, Groups, refresh};

const URL: &str = "__meta_url";
const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));
/// Far more than any list of targets needs.
const MAX_BODY: usize = 64 << 20;

/// Fetches one list of target groups again and again.
#[derive(Debug)]
pub(super) struct Http {
    config: HttpConfig,
    client: HttpClient,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

// === impl Http ===

impl Http {
    pub(super) fn new(config: HttpConfig) -> Result<Self, HttpClientError> {
        let client = HttpClient::new(&config.http)?;
        Ok(Self { config, client })
    }

    /// A failure keeps what was known before.
    pub(super) async fn run(self, groups: Groups, metrics: DiscoveryMetrics) {
        let mut refresh = refresh(self.config.refresh_interval);
        loop {
            refresh.tick().await;
            let fetched = timeout(self.config.refresh_interval, self.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err("no answer in time".into()));
            match fetched {
                Ok(fetched) => groups.replace(fetched),
                Err(error) => {
                    let error = format!("{}: {error}", self.config.written_url);
                    self.failed(&metrics, &error);
                    groups.failed(error);
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<TargetGroup>, Error> {
        let request = Request::get(self.config.url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(
                "X-Prometheus-Refresh-Interval-Seconds",
                self.config.refresh_interval.as_secs_f64().to_string(),
            )
            .body(Bytes::new())?;
        let response = self.client.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}, expected 200", response.status()).into());
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if !is_json(content_type) {
            return Err(format!("content type {content_type:?}, expected application/json").into());
        }
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await?
            .to_bytes();
        let mut groups = parse_target_groups_json(
            std::str::from_utf8(&body)?,
            self.config.url.as_str().as_ref(),
        )?;
        for (i, group) in groups.iter_mut().enumerate() {
            let mut labels = group.labels.to_builder();
            labels.set(URL, &self.config.written_url);
            group.labels = labels.build();
            group.source = format!("{}:{i}", self.config.written_url);
        }
        Ok(groups)
    }

    fn failed(&self, metrics: &DiscoveryMetrics, error: &str) {
        metrics.failed("http");
        let interval: Duration = self.config.refresh_interval;
        warn!(
            error,
            next = duration::format(interval),
            "Targets not fetched, the last ones stay"
        );
    }
}

/// Whether it is `application/json`, in UTF-8 if it says so.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(parameters) = lower.strip_prefix("application/json") else {
        return false;
    };
    let charset = parameters.strip_prefix(';').map(str::trim_start);
    parameters.is_empty() || matches!(charset, Some("charset=utf-8" | "charset=\"utf-8\""))
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn only_json_in_utf_8_is_taken() {
        for good in [
            "application/json",
            "Application/JSON;charset=UTF-8",
            " application/json; charset=\"utf-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/json; charset=latin1",
            "application/json;",
            "application/jsonp",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
