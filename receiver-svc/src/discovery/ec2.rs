//! `ec2_sd_configs`: the instances of an AWS region.

mod answer;
mod api;
mod target;

use std::collections::BTreeMap;

use mesh::{
    config::{
        discovery::{Ec2Config, TargetGroup},
        duration,
    },
    http_client::{HttpClient, HttpClientError},
    labels::Labels,
};
use tokio::time::timeout;
use tracing::{debug, warn};

use self::{
    answer::{AvailabilityZones, Instances, Item},
    api::{Api, ApiError},
};
use super::{DiscoveryMetrics, Groups, refresh};

/// Instances of one answer; the others come with the next token.
const PAGE: &str = "1000";

/// Lists the instances again and again.
#[derive(Debug)]
pub(super) struct Ec2 {
    config: Ec2Config,
    api: Api,
    /// Ids of the availability zones by name; `None` until they could be had.
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

    /// A failure keeps what was known before.
    pub(super) async fn run(mut self, groups: Groups, metrics: DiscoveryMetrics) {
        let mut refresh = refresh(self.config.refresh_interval);
        loop {
            refresh.tick().await;
            let listed = timeout(self.config.refresh_interval, self.list()).await;
            let listed = listed.map_or_else(
                |_| Err("no answer in time".to_owned()),
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

    /// The instances that the filters let pass, as one target group.
    async fn list(&mut self) -> Result<TargetGroup, ApiError> {
        let region = self.api.prepare().await?;
        self.learn_zones().await;
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

    /// The parameters that ask for one page.
    fn page(&self, token: Option<String>) -> Vec<(String, String)> {
        let mut parameters = vec![("MaxResults".to_owned(), PAGE.to_owned())];
        for (i, (name, values)) in (1..).zip(&self.config.filters) {
            parameters.push((format!("Filter.{i}.Name"), name.clone()));
            for (k, value) in (1..).zip(values) {
                parameters.push((format!("Filter.{i}.Value.{k}"), value.clone()));
            }
        }
        parameters.extend(token.map(|token| ("NextToken".to_owned(), token)));
        parameters
    }

    /// Zones are asked for until they could be had once: they do not change, and
    /// not everybody may ask.
    async fn learn_zones(&mut self) {
        if self.zones.is_some() {
            return;
        }
        let asked = self.api.call("DescribeAvailabilityZones", Vec::new());
        match asked.await {
            Ok(AvailabilityZones {
                availability_zone_info: Item { item },
            }) => {
                let zones = item
                    .into_iter()
                    .filter_map(|zone| Some((zone.zone_name?, zone.zone_id?)));
                self.zones = Some(zones.collect());
            }
            Err(error) => debug!(%error, "Availability zones not known"),
        }
    }

    fn failed(&mut self, metrics: &DiscoveryMetrics, error: &str) {
        self.api.forget_credentials();
        metrics.failed("ec2");
        let next = duration::format(self.config.refresh_interval);
        warn!(error, next, "Instances not listed, the last ones stay");
    }
}

#[cfg(test)]
mod tests;
