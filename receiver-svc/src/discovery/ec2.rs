//! `ec2_sd_configs`: targets from the EC2 instances of an AWS region.

mod api;
mod response;
mod target;

use std::collections::BTreeMap;

use mesh_model::{
    config::{
        discovery::{Ec2Config, TargetGroup},
        duration,
    },
    labels::Labels,
};
use mesh_net::http_client::{HttpClient, HttpClientError};
use tokio::time::timeout;
use tracing::{debug, warn};

use self::{
    api::{Api, ApiError},
    response::{AvailabilityZones, Instances, Item},
};
use super::{DiscoveryMetrics, TargetGroups, refresh};

/// Maximum number of instances per `DescribeInstances` page.
const PAGE_SIZE: &str = "1000";

/// Lists the instances at every refresh interval.
#[derive(Debug)]
pub(super) struct Ec2 {
    config: Ec2Config,
    api: Api,
    /// IDs of the availability zones by name; `None` until they are loaded.
    zones: Option<BTreeMap<String, String>>,
}

// === impl Ec2 ===

impl Ec2 {
    pub(super) fn new(config: Ec2Config) -> Result<Self, HttpClientError> {
        let client = HttpClient::new(&config.http)?;
        Ok(Self {
            api: Api::new(&config, client),
            config,
            zones: None,
        })
    }

    /// Refreshes the target group until the task is aborted. A failed refresh keeps
    /// the last targets.
    pub(super) async fn run(mut self, groups: TargetGroups, metrics: DiscoveryMetrics) {
        let mut refresh = refresh(self.config.refresh_interval);
        loop {
            refresh.tick().await;
            let limit = self.config.refresh_interval;
            let listed = timeout(limit, self.list()).await;
            let listed = listed.map_or_else(
                |_| Err(format!("no response within {}", duration::format(limit))),
                |listed| listed.map_err(|error| error.to_string()),
            );
            match listed {
                Ok(group) => groups.replace([group]),
                Err(error) => {
                    self.failed(&metrics, &error);
                    groups.failed(error);
                }
            }
        }
    }

    /// Lists the instances that match the filters, as one target group.
    async fn list(&mut self) -> Result<TargetGroup, ApiError> {
        let region = self.api.prepare().await?;
        self.load_zones().await;
        let zones = self.zones.clone().unwrap_or_default();
        let mut targets = Vec::new();
        let mut token = None;
        loop {
            let page: Instances = self.api.call("DescribeInstances", self.page(token)).await?;
            for reservation in page.reservation_set.item {
                let owner = reservation.owner_id.as_deref();
                let instances = reservation.instances_set.item.iter();
                let port = self.config.port;
                targets.extend(
                    instances.filter_map(|i| target::target(i, owner, &region, &zones, port)),
                );
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(TargetGroup {
            targets,
            labels: Labels::default(),
            source: region,
        })
    }

    /// Builds the request parameters for one page.
    fn page(&self, token: Option<String>) -> Vec<(String, String)> {
        let mut parameters = vec![("MaxResults".to_owned(), PAGE_SIZE.to_owned())];
        for (i, (name, values)) in (1..).zip(&self.config.filters) {
            parameters.push((format!("Filter.{i}.Name"), name.clone()));
            for (k, value) in (1..).zip(values) {
                parameters.push((format!("Filter.{i}.Value.{k}"), value.clone()));
            }
        }
        parameters.extend(token.map(|token| ("NextToken".to_owned(), token)));
        parameters
    }

    /// Loads the availability zones once, since they do not change. Continues without
    /// them on failure, since the credentials may lack that permission.
    async fn load_zones(&mut self) {
        if self.zones.is_some() {
            return;
        }
        let response = self.api.call("DescribeAvailabilityZones", Vec::new());
        match response.await {
            Ok(AvailabilityZones {
                availability_zone_info: Item { item },
            }) => {
                let zones = item
                    .into_iter()
                    .filter_map(|zone| Some((zone.zone_name?, zone.zone_id?)));
                self.zones = Some(zones.collect());
            }
            Err(error) => {
                debug!(%error, "Listing availability zones failed, targets have no zone ID")
            }
        }
    }

    fn failed(&mut self, metrics: &DiscoveryMetrics, error: &str) {
        self.api.forget_credentials();
        metrics.failed("ec2");
        let retry_in = duration::format(self.config.refresh_interval);
        warn!(
            error,
            retry_in, "Listing EC2 instances failed, keeping the last ones"
        );
    }
}

#[cfg(test)]
mod tests;
