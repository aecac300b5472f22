//! `msk_sd_configs`: targets from the nodes of the MSK clusters of an AWS region.

mod response;
mod target;

use futures::{StreamExt, TryStreamExt, stream};
use mesh_model::{
    config::discovery::{AwsClustersConfig, AwsConfig, TargetGroup},
    labels::Labels,
};
use mesh_net::http_client::{HttpClient, HttpClientError};
use tracing::warn;
use url::form_urlencoded::Serializer;

use self::response::{Cluster, Clusters, Described, Node, Nodes};
use super::aws::{
    Lister,
    api::{Api, ApiError, path_segment},
    region_group,
};

/// Kind of the clusters that have nodes.
const PROVISIONED: &str = "PROVISIONED";

/// Lists the nodes at every refresh interval.
#[derive(Debug)]
pub(super) struct Msk {
    config: AwsClustersConfig,
    api: Api,
}

// === impl Msk ===

impl Msk {
    pub(super) fn new(config: AwsClustersConfig) -> Result<Self, HttpClientError> {
        let client = HttpClient::named("msk_sd_configs", &config.aws.http)?;
        Ok(Self {
            api: Api::new(&config.aws, "kafka", client),
            config,
        })
    }

    async fn clusters(&self) -> Result<Vec<Cluster>, ApiError> {
        let mut clusters = Vec::new();
        for arn in &self.config.clusters {
            let path = format!("/api/v2/clusters/{}", path_segment(arn));
            let described: Described = self.api.get("DescribeClusterV2", &path).await?;
            let cluster = described.cluster_info;
            if cluster.cluster_type == PROVISIONED {
                clusters.push(cluster);
            } else {
                let kind = cluster.cluster_type;
                warn!(
                    arn,
                    kind, "MSK cluster skipped, only PROVISIONED ones have nodes"
                );
            }
        }
        if !self.config.clusters.is_empty() {
            return Ok(clusters);
        }
        let mut token = None;
        loop {
            let path = format!(
                "/api/v2/clusters?clusterTypeFilter={PROVISIONED}&{}",
                page(token)
            );
            let page: Clusters = self.api.get("ListClustersV2", &path).await?;
            clusters.extend(page.cluster_info_list);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(clusters);
            }
        }
    }

    /// Lists the targets of one cluster.
    async fn targets(&self, cluster: Cluster) -> Result<Vec<Labels>, ApiError> {
        let mut nodes: Vec<Node> = Vec::new();
        let arn = path_segment(cluster.cluster_arn.as_deref().unwrap_or_default());
        let mut token = None;
        loop {
            let path = format!("/v1/clusters/{arn}/nodes?{}", page(token));
            let page: Nodes = self.api.get("ListNodes", &path).await?;
            nodes.extend(page.node_info_list);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        let port = self.config.aws.port;
        let targets = |node: &Node| target::targets(node, &cluster, port);
        Ok(nodes.iter().flat_map(targets).collect())
    }
}

impl Lister for Msk {
    const MECHANISM: &'static str = "msk";

    fn config(&self) -> &AwsConfig {
        &self.config.aws
    }

    async fn list(&mut self) -> Result<TargetGroup, ApiError> {
        let region = self.api.prepare().await?;
        let this = &*self;
        let clusters = this.clusters().await?;
        let targets = stream::iter(clusters)
            .map(|cluster| this.targets(cluster))
            .buffered(this.config.request_concurrency)
            .try_concat()
            .await?;
        Ok(region_group(region, targets))
    }

    fn forget_credentials(&mut self) {
        self.api.forget_credentials();
    }
}

/// Query parameters for one page.
fn page(token: Option<String>) -> String {
    Serializer::new("maxResults=100".to_owned())
        .extend_pairs(token.map(|token| ("nextToken", token)))
        .finish()
}

#[cfg(test)]
mod tests;
