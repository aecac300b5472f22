//! `ec2_sd_configs`: targets from the EC2 instances of an AWS region.

pub(super) mod response;
mod target;

use std::collections::BTreeMap;

use mesh_model::config::discovery::{AwsConfig, Ec2Config, TargetGroup};
use mesh_net::http_client::{HttpClient, HttpClientError};
use tracing::debug;

use self::response::{AvailabilityZones, Instances, Item};
use super::aws::{
    Lister,
    api::{Api, ApiError},
    region_group,
};

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
        let client = HttpClient::named("ec2_sd_configs", &config.aws.http)?;
        Ok(Self {
            api: Api::new(&config.aws, "ec2", client),
            config,
            zones: None,
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
        let response = self.api.query("DescribeAvailabilityZones", Vec::new());
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
}

impl Lister for Ec2 {
    const MECHANISM: &'static str = "ec2";

    fn config(&self) -> &AwsConfig {
        &self.config.aws
    }

    async fn list(&mut self) -> Result<TargetGroup, ApiError> {
        let region = self.api.prepare().await?;
        self.load_zones().await;
        let zones = self.zones.clone().unwrap_or_default();
        let mut targets = Vec::new();
        let mut token = None;
        loop {
            let page: Instances = self
                .api
                .query("DescribeInstances", self.page(token))
                .await?;
            for reservation in page.reservation_set.item {
                let owner = reservation.owner_id.as_deref();
                let instances = reservation.instances_set.item.iter();
                let port = self.config.aws.port;
                targets.extend(
                    instances.filter_map(|i| target::target(i, owner, &region, &zones, port)),
                );
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(region_group(region, targets))
    }

    fn forget_credentials(&mut self) {
        self.api.forget_credentials();
    }
}

#[cfg(test)]
mod tests;
