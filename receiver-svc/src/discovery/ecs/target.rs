//! Builds a target from an ECS task.

use std::collections::BTreeMap;

use mesh_model::{
    labels::{ADDRESS, Labels},
    validation::sanitize_label_name,
};

use super::response::{Cluster, Service, Task};
use crate::discovery::{
    ec2::response::{Instance, Tag},
    host_and_port,
};

const PREFIX: &str = "__meta_ecs_";

/// The hosts and the network interfaces of the tasks of a cluster.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// IDs of EC2 instances by the ARN of the container instance.
    pub(super) instance_ids: BTreeMap<String, String>,
    /// EC2 instances by ID.
    pub(super) instances: BTreeMap<String, Instance>,
    /// Public addresses by the ID of the network interface.
    pub(super) public_ips: BTreeMap<String, String>,
}

/// Builds the target of a task. Returns `None` if it has no address. A field that the API
/// omits makes no label.
pub(super) fn target(
    task: &Task,
    cluster: &Cluster,
    services: &BTreeMap<String, Service>,
    hosts: &Hosts,
    region: &str,
    port: u16,
) -> Option<Labels> {
    let container_instance = task.container_instance_arn.as_deref();
    let instance_id = container_instance.and_then(|arn| hosts.instance_ids.get(arn));
    let instance = instance_id.and_then(|id| hosts.instances.get(id));
    // As in Prometheus, an instance without a private address is unknown.
    let instance = instance.filter(|instance| instance.private_ip_address.is_some());
    let private_ip = instance.and_then(|instance| instance.private_ip_address.as_deref());
    let instance_public_ip = instance.and_then(|instance| instance.ip_address.as_deref());
    let interface = task.interface();
    let (mode, address, subnet, public_ip) = match interface {
        Some(interface) => (
            "awsvpc",
            interface.detail("privateIPv4Address"),
            interface.detail("subnetId"),
            task.interface_id()
                .and_then(|id| hosts.public_ips.get(id).map(String::as_str)),
        ),
        None => (
            "bridge",
            private_ip,
            instance.and_then(|instance| instance.subnet_id.as_deref()),
            instance_public_ip,
        ),
    };
    let address = address.filter(|address| !address.is_empty())?;
    let service = task
        .group
        .as_deref()
        .and_then(|g| g.strip_prefix("service:"));
    let service = service.and_then(|name| services.get(name));
    let labels = [
        ("availability_zone", task.availability_zone.as_deref()),
        ("cluster", cluster.cluster_name.as_deref()),
        ("cluster_arn", cluster.cluster_arn.as_deref()),
        ("container_instance_arn", container_instance),
        ("desired_status", task.desired_status.as_deref()),
        ("ec2_instance_id", instance_id.map(String::as_str)),
        ("ec2_instance_private_ip", private_ip),
        ("ec2_instance_public_ip", instance_public_ip),
        (
            "ec2_instance_type",
            instance.and_then(|instance| instance.instance_type.as_deref()),
        ),
        ("health_status", Some(&*task.health_status)),
        ("ip_address", Some(address)),
        ("last_status", task.last_status.as_deref()),
        ("launch_type", Some(&*task.launch_type)),
        ("network_mode", Some(mode)),
        ("platform_family", task.platform_family.as_deref()),
        ("platform_version", task.platform_version.as_deref()),
        ("public_ip", public_ip),
        ("region", Some(region)),
        ("service", service.and_then(|s| s.service_name.as_deref())),
        (
            "service_arn",
            service.and_then(|s| s.service_arn.as_deref()),
        ),
        ("service_status", service.and_then(|s| s.status.as_deref())),
        ("subnet_id", subnet),
        ("task_arn", task.task_arn.as_deref()),
        ("task_definition", task.task_definition_arn.as_deref()),
        ("task_group", task.group.as_deref()),
    ];
    let labels = labels
        .into_iter()
        .filter_map(|(name, value)| Some((format!("{PREFIX}{name}"), value?.to_owned())));
    let service_tags = service.map_or(&[][..], |service| &service.tags);
    let instance_tags = instance.map_or(&[][..], |instance| &instance.tag_set.item);
    let tags = tags("cluster", &cluster.tags)
        .chain(tags("service", service_tags))
        .chain(tags("task", &task.tags))
        .chain(tags("ec2", instance_tags));
    let address = (ADDRESS.to_owned(), host_and_port(address, port));
    Some(labels.chain(tags).chain([address]).collect())
}

/// Labels for the tags of an object.
fn tags(of: &str, tags: &[Tag]) -> impl Iterator<Item = (String, String)> {
    tags.iter().filter_map(move |tag| {
        let name = sanitize_label_name(tag.key.as_ref()?);
        Some((format!("{PREFIX}tag_{of}_{name}"), tag.value.clone()?))
    })
}
