//! Responses of the MSK API, reduced to the fields that targets need.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One page of `ListClustersV2`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Clusters {
    pub(super) cluster_info_list: Vec<Cluster>,
    pub(super) next_token: Option<String>,
}

/// Response of `DescribeClusterV2`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Described {
    pub(super) cluster_info: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Cluster {
    pub(super) cluster_arn: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) cluster_type: String,
    pub(super) state: String,
    pub(super) current_version: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) provisioned: Provisioned,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Provisioned {
    pub(super) current_broker_software_info: Software,
    pub(super) open_monitoring: Option<OpenMonitoring>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Software {
    pub(super) kafka_version: Option<String>,
    pub(super) configuration_arn: Option<String>,
    pub(super) configuration_revision: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpenMonitoring {
    pub(super) prometheus: Option<Exporters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exporters {
    pub(super) jmx_exporter: Option<Exporter>,
    pub(super) node_exporter: Option<Exporter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exporter {
    pub(super) enabled_in_broker: bool,
}

/// One page of `ListNodes`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Nodes {
    pub(super) node_info_list: Vec<Node>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Node {
    #[serde(rename = "nodeARN")]
    pub(super) node_arn: Option<String>,
    pub(super) added_to_cluster_time: Option<String>,
    pub(super) instance_type: Option<String>,
    pub(super) broker_node_info: Option<Broker>,
    pub(super) controller_node_info: Option<Controller>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Broker {
    #[serde(rename = "attachedENIId")]
    pub(super) attached_eni_id: Option<String>,
    pub(super) broker_id: f64,
    pub(super) client_subnet: Option<String>,
    pub(super) client_vpc_ip_address: Option<String>,
    pub(super) endpoints: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Controller {
    pub(super) endpoints: Vec<String>,
}
