//! `http_sd_configs`: target groups from an HTTP endpoint.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use mesh_model::{
    config::{
        discovery::{HttpConfig, TargetGroup},
        duration, redacted,
    },
    config_file::parse_target_groups_json,
};
use mesh_net::{
    describe,
    http_client::{HttpClient, HttpClientError},
};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::warn;

use super::{DiscoveryMetrics, TargetGroups, refresh};

const URL: &str = "__meta_url";
const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Fetches a list of target groups at every refresh interval.
#[derive(Debug)]
pub(super) struct Http {
    config: HttpConfig,
    /// Maximum size of a response body in bytes.
    max_bytes: usize,
    client: HttpClient,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

// === impl Http ===

impl Http {
    pub(super) fn new(config: HttpConfig, max_bytes: usize) -> Result<Self, HttpClientError> {
        let name = format!("http_sd_configs {}", redacted(&config.url));
        let client = HttpClient::named(name, &config.http)?;
        Ok(Self {
            config,
            max_bytes,
            client,
        })
    }

    /// Refreshes the target groups until the task is aborted. A failed refresh keeps
    /// the last groups.
    pub(super) async fn run(self, groups: TargetGroups, metrics: DiscoveryMetrics) {
        let mut refresh = refresh(self.config.refresh_interval);
        loop {
            refresh.tick().await;
            let limit = self.config.refresh_interval;
            let fetched = timeout(limit, self.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| {
                let limit = duration::format(limit);
                Err(format!("no response within {limit}").into())
            });
            match fetched {
                Ok(fetched) => groups.replace(fetched),
                Err(error) => {
                    let error = format!("{}: {error}", redacted(&self.config.url));
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
        let body = Limited::new(response.into_body(), self.max_bytes).collect();
        let body = body.await.map_err(|error| self.body_error(error))?;
        let body = body.to_bytes();
        let url = redacted(&self.config.url).to_string();
        let origin = PathBuf::from(&url);
        // A large list takes seconds.
        let parsed = spawn_blocking(move || parse_target_groups_json(&body, &origin));
        let mut groups = parsed.await??;
        for (i, group) in groups.iter_mut().enumerate() {
            let mut labels = group.labels.to_builder();
            labels.set(URL, &self.config.written_url);
            group.labels = labels.build();
            group.source = format!("{url}:{i}");
        }
        Ok(groups)
    }

    fn body_error(&self, error: Error) -> Error {
        if error.is::<LengthLimitError>() {
            let limit = self.max_bytes;
            return format!(
                "larger than {limit} bytes, split the list or raise --discovery.max-list-bytes"
            )
            .into();
        }
        format!("reading the body: {}", describe(&*error)).into()
    }

    fn failed(&self, metrics: &DiscoveryMetrics, error: &str) {
        metrics.failed("http");
        let interval: Duration = self.config.refresh_interval;
        warn!(
            error,
            retry_in = duration::format(interval),
            "Fetching HTTP targets failed, keeping the last ones"
        );
    }
}

/// Returns true for `application/json` with no charset or with UTF-8.
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
    fn accepts_only_json_in_utf_8() {
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
