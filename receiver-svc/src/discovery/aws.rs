//! Parts that the AWS mechanisms share: the refresh loop and the API client.

pub(super) mod api;

use std::future::Future;

use mesh_model::{
    config::{
        discovery::{AwsConfig, TargetGroup},
        duration,
    },
    labels::Labels,
};
use tokio::time::timeout;
use tracing::warn;

use self::api::ApiError;
use super::{DiscoveryMetrics, TargetGroups, refresh};

/// Lists the targets of one AWS service in one region.
pub(super) trait Lister {
    /// Name of the mechanism in metrics and logs.
    const MECHANISM: &'static str;

    /// Settings that all AWS mechanisms have.
    fn config(&self) -> &AwsConfig;

    /// Lists all targets, as one group.
    ///
    /// # Errors
    /// Returns an error if a request fails.
    fn list(&mut self) -> impl Future<Output = Result<TargetGroup, ApiError>> + Send;

    /// Loads the credentials again before the next request, since they may have been rotated.
    fn forget_credentials(&mut self);
}

/// Returns the group of all targets of a region.
pub(super) fn region_group(region: String, targets: Vec<Labels>) -> TargetGroup {
    TargetGroup {
        targets,
        labels: Labels::default(),
        source: region,
    }
}

/// Refreshes the target group until the task is aborted. A failed refresh keeps the last
/// targets.
pub(super) async fn run<L: Lister>(mut lister: L, groups: TargetGroups, metrics: DiscoveryMetrics) {
    let limit = lister.config().refresh_interval;
    let mut refresh = refresh(limit);
    loop {
        refresh.tick().await;
        let listed = timeout(limit, lister.list()).await;
        let listed = listed.map_or_else(
            |_| Err(format!("no response within {}", duration::format(limit))),
            |listed| listed.map_err(|error| error.to_string()),
        );
        match listed {
            Ok(group) => groups.replace([group]),
            Err(error) => {
                lister.forget_credentials();
                metrics.failed(L::MECHANISM);
                let (mechanism, retry_in) = (L::MECHANISM, duration::format(limit));
                warn!(
                    mechanism,
                    error, retry_in, "Listing AWS targets failed, keeping the last ones"
                );
                groups.failed(error);
            }
        }
    }
}

/// Settings of a mechanism that talks to a fake API at `endpoint`.
#[cfg(test)]
pub(super) fn test_config(endpoint: String, port: u16) -> AwsConfig {
    AwsConfig {
        region: Some("eu-west-2".to_owned()),
        endpoint: Some(endpoint),
        access_key: Some("AKID".to_owned()),
        secret_key: Some(mesh_model::config::Secret::new("secret")),
        profile: None,
        role_arn: None,
        external_id: None,
        port,
        refresh_interval: std::time::Duration::from_secs(60),
        http: mesh_model::config::http::HttpClientConfig::default(),
    }
}
