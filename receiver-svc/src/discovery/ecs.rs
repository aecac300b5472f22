//! `ecs_sd_configs`: targets from the ECS tasks of an AWS region.

mod response;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use mesh_model::{
    config::discovery::{AwsClustersConfig, AwsConfig, TargetGroup},
    labels::Labels,
};
use mesh_net::http_client::{HttpClient, HttpClientError};
use serde_json::json;

use self::{
    response::{
        Arns, Cluster, Clusters, ContainerInstances, NetworkInterfaces, Service, Services, Task,
        Tasks,
    },
    target::Hosts,
};
use super::{
    aws::{
        Lister,
        api::{Api, ApiError},
        region_group,
    },
    ec2::response::{Instance, Instances},
};

/// Maximum number of clusters, tasks or container instances in one request.
const BATCH: usize = 100;
/// Maximum number of services in one request.
const SERVICES_BATCH: usize = 10;
/// Maximum number of EC2 instances or network interfaces in one request.
const EC2_BATCH: usize = 500;

/// Lists the tasks at every refresh interval.
#[derive(Debug)]
pub(super) struct Ecs {
    config: AwsClustersConfig,
    api: Api,
    /// API of the EC2 instances that tasks run on.
    ec2: Api,
}

// === impl Ecs ===

impl Ecs {
    pub(super) fn new(config: AwsClustersConfig) -> Result<Self, HttpClientError> {
        let client = HttpClient::named("ecs_sd_configs", &config.aws.http)?;
        // The endpoint is that of ECS.
        let ec2 = AwsConfig {
            endpoint: None,
            ..config.aws.clone()
        };
        Ok(Self {
            api: Api::new(&config.aws, "ecs", client.clone()),
            ec2: Api::new(&ec2, "ec2", client),
            config,
        })
    }

    async fn cluster_arns(&self) -> Result<Vec<String>, ApiError> {
        if !self.config.clusters.is_empty() {
            return Ok(self.config.clusters.clone());
        }
        self.pages("ListClusters", json!({})).await
    }

    /// Lists the ARNs of all pages of a `List…` action.
    async fn pages(
        &self,
        action: &'static str,
        mut body: serde_json::Value,
    ) -> Result<Vec<String>, ApiError> {
        body["maxResults"] = json!(BATCH);
        let mut all = Vec::new();
        loop {
            let page: Arns = self.api.json(action, &body).await?;
            all.extend(page.cluster_arns);
            all.extend(page.service_arns);
            all.extend(page.task_arns);
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => body["nextToken"] = json!(token),
                None => return Ok(all),
            }
        }
    }

    async fn clusters(&self) -> Result<Vec<Cluster>, ApiError> {
        let mut clusters = Vec::new();
        for batch in self.cluster_arns().await?.chunks(BATCH) {
            let body = json!({"clusters": batch, "include": ["TAGS"]});
            let page: Clusters = self.api.json("DescribeClusters", &body).await?;
            clusters.extend(page.clusters);
        }
        Ok(clusters)
    }

    /// Lists the targets of one cluster.
    async fn targets(&self, cluster: Cluster, region: &str) -> Result<Vec<Labels>, ApiError> {
        let Some(arn) = &cluster.cluster_arn else {
            return Ok(Vec::new());
        };
        let tasks = self.tasks(arn).await?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let services = self.services(arn).await?;
        let hosts = Hosts {
            instance_ids: self.container_instances(arn, &tasks).await?,
            instances: BTreeMap::new(),
            public_ips: self.public_ips(&tasks).await?,
        };
        let instances = self.instances(&hosts).await?;
        let hosts = Hosts { instances, ..hosts };
        let port = self.config.aws.port;
        let target = |task: &Task| target::target(task, &cluster, &services, &hosts, region, port);
        Ok(tasks.iter().filter_map(target).collect())
    }

    async fn tasks(&self, cluster: &str) -> Result<Vec<Task>, ApiError> {
        let arns = self.pages("ListTasks", json!({"cluster": cluster})).await?;
        let mut tasks = Vec::new();
        for batch in arns.chunks(BATCH) {
            let body = json!({"cluster": cluster, "tasks": batch, "include": ["TAGS"]});
            let page: Tasks = self.api.json("DescribeTasks", &body).await?;
            tasks.extend(page.tasks);
        }
        Ok(tasks)
    }

    /// Returns the services of a cluster by name.
    async fn services(&self, cluster: &str) -> Result<BTreeMap<String, Service>, ApiError> {
        let body = json!({"cluster": cluster});
        let arns = self.pages("ListServices", body).await?;
        let mut services = BTreeMap::new();
        for batch in arns.chunks(SERVICES_BATCH) {
            let body = json!({"cluster": cluster, "services": batch, "include": ["TAGS"]});
            let page: Services = self.api.json("DescribeServices", &body).await?;
            let named = page.services.into_iter();
            services.extend(named.filter_map(|s| Some((s.service_name.clone()?, s))));
        }
        Ok(services)
    }

    /// Returns the IDs of EC2 instances by the ARN of the container instance.
    async fn container_instances(
        &self,
        cluster: &str,
        tasks: &[Task],
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let arns = tasks
            .iter()
            .filter_map(|t| t.container_instance_arn.as_ref());
        let arns: Vec<_> = arns.collect::<BTreeSet<_>>().into_iter().collect();
        let mut ids = BTreeMap::new();
        for batch in arns.chunks(BATCH) {
            let body = json!({"cluster": cluster, "containerInstances": batch});
            let page: ContainerInstances =
                self.api.json("DescribeContainerInstances", &body).await?;
            let known = page.container_instances.into_iter();
            ids.extend(known.filter_map(|i| Some((i.container_instance_arn?, i.ec2_instance_id?))));
        }
        Ok(ids)
    }

    /// Returns the EC2 instances by ID.
    async fn instances(&self, hosts: &Hosts) -> Result<BTreeMap<String, Instance>, ApiError> {
        let ids: Vec<_> = hosts
            .instance_ids
            .values()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut instances = BTreeMap::new();
        for batch in ids.chunks(EC2_BATCH) {
            let mut token = None;
            loop {
                let parameters = list("InstanceId", batch, token);
                let page: Instances = self.ec2.query("DescribeInstances", parameters).await?;
                let reservations = page.reservation_set.item.into_iter();
                let all = reservations.flat_map(|r| r.instances_set.item);
                instances.extend(all.filter_map(|i| Some((i.instance_id.clone()?, i))));
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(instances)
    }

    /// Returns the public addresses of network interfaces by the interface's ID.
    async fn public_ips(&self, tasks: &[Task]) -> Result<BTreeMap<String, String>, ApiError> {
        let ids: Vec<_> = tasks.iter().filter_map(Task::interface_id).collect();
        let mut ips = BTreeMap::new();
        for batch in ids.chunks(EC2_BATCH) {
            let mut token = None;
            loop {
                let parameters = list("NetworkInterfaceId", batch, token);
                let page: NetworkInterfaces = self
                    .ec2
                    .query("DescribeNetworkInterfaces", parameters)
                    .await?;
                let found = page.network_interface_set.item.into_iter();
                ips.extend(
                    found
                        .filter_map(|i| Some((i.network_interface_id?, i.association?.public_ip?))),
                );
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(ips)
    }
}

impl Lister for Ecs {
    const MECHANISM: &'static str = "ecs";

    fn config(&self) -> &AwsConfig {
        &self.config.aws
    }

    async fn list(&mut self) -> Result<TargetGroup, ApiError> {
        let region = self.api.prepare().await?;
        self.ec2.prepare().await?;
        let this = &*self;
        let clusters = this.clusters().await?;
        let targets = stream::iter(clusters)
            .map(|cluster| this.targets(cluster, &region))
            .buffered(this.config.request_concurrency)
            .try_concat()
            .await?;
        Ok(region_group(region, targets))
    }

    fn forget_credentials(&mut self) {
        self.api.forget_credentials();
        self.ec2.forget_credentials();
    }
}

/// Builds the parameters of a request for the objects with these IDs.
fn list(name: &str, ids: &[impl AsRef<str>], token: Option<String>) -> Vec<(String, String)> {
    let ids = (1..)
        .zip(ids)
        .map(|(i, id)| (format!("{name}.{i}"), id.as_ref().to_owned()));
    let token = token.map(|token| ("NextToken".to_owned(), token));
    ids.chain(token).collect()
}

#[cfg(test)]
mod tests;
