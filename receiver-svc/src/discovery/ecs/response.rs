//! Responses of the ECS API, reduced to the fields that targets need.
//!
//! Every field is optional in the API.

use serde::Deserialize;

use crate::discovery::ec2::response::{Item, Tag};

/// One page of any `List…` action.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Arns {
    pub(super) cluster_arns: Vec<String>,
    pub(super) service_arns: Vec<String>,
    pub(super) task_arns: Vec<String>,
    pub(super) next_token: Option<String>,
}

/// Response of `DescribeClusters`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Clusters {
    pub(super) clusters: Vec<Cluster>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Cluster {
    pub(super) cluster_arn: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) tags: Vec<Tag>,
}

/// Response of `DescribeServices`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Services {
    pub(super) services: Vec<Service>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Service {
    pub(super) service_arn: Option<String>,
    pub(super) service_name: Option<String>,
    pub(super) status: Option<String>,
    pub(super) tags: Vec<Tag>,
}

/// Response of `DescribeTasks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tasks {
    pub(super) tasks: Vec<Task>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Task {
    pub(super) task_arn: Option<String>,
    pub(super) task_definition_arn: Option<String>,
    pub(super) group: Option<String>,
    pub(super) launch_type: String,
    pub(super) desired_status: Option<String>,
    pub(super) last_status: Option<String>,
    pub(super) health_status: String,
    pub(super) availability_zone: Option<String>,
    pub(super) platform_family: Option<String>,
    pub(super) platform_version: Option<String>,
    pub(super) container_instance_arn: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) tags: Vec<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attachment {
    r#type: Option<String>,
    details: Vec<Detail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    name: Option<String>,
    value: Option<String>,
}

/// Response of `DescribeContainerInstances`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerInstances {
    pub(super) container_instances: Vec<ContainerInstance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerInstance {
    pub(super) container_instance_arn: Option<String>,
    pub(super) ec2_instance_id: Option<String>,
}

/// The `DescribeNetworkInterfacesResponse` element of the EC2 API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkInterfaces {
    #[serde(default)]
    pub(super) network_interface_set: Item<NetworkInterface>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkInterface {
    pub(super) network_interface_id: Option<String>,
    pub(super) association: Option<Association>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Association {
    pub(super) public_ip: Option<String>,
}

// === impl Task ===

impl Task {
    /// Returns the attached network interface of a task in the network mode `awsvpc`.
    pub(super) fn interface(&self) -> Option<&Attachment> {
        let mut attachments = self.attachments.iter();
        attachments.find(|a| a.r#type.as_deref() == Some("ElasticNetworkInterface"))
    }

    /// Returns the ID of the attached network interface.
    pub(super) fn interface_id(&self) -> Option<&str> {
        self.interface()?.detail("networkInterfaceId")
    }
}

// === impl Attachment ===

impl Attachment {
    /// Returns the value of a detail.
    pub(super) fn detail(&self, name: &str) -> Option<&str> {
        let details = self.details.iter();
        let mut named = details.filter(|detail| detail.name.as_deref() == Some(name));
        named.find_map(|detail| detail.value.as_deref())
    }
}
