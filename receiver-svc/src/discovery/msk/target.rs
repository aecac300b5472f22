//! Builds targets from a node of an MSK cluster.

use mesh_model::{
    labels::{ADDRESS, Labels},
    validation::sanitize_label_name,
};

use super::response::{Broker, Cluster, Exporter, Exporters, Node};
use crate::discovery::host_and_port;

const PREFIX: &str = "__meta_msk_";

/// Builds a target for each endpoint of a node that is a broker or a controller.
pub(super) fn targets(node: &Node, cluster: &Cluster, port: u16) -> Vec<Labels> {
    let (kind, index, endpoints, own) = match (&node.broker_node_info, &node.controller_node_info) {
        (Some(broker), _) => {
            let own = broker_labels(broker, cluster);
            ("BROKER", "broker_endpoint_index", &broker.endpoints, own)
        }
        (None, Some(controller)) => {
            let index = "controller_endpoint_index";
            ("CONTROLLER", index, &controller.endpoints, Vec::new())
        }
        (None, None) => return Vec::new(),
    };
    let mut labels = node_labels(node, cluster);
    labels.push(("node_type", Some(kind.to_owned())));
    labels.extend(own);
    let named = labels
        .into_iter()
        .filter_map(|(name, value)| Some((format!("{PREFIX}{name}"), value?)));
    let tags = cluster.tags.iter().map(|(key, value)| {
        let name = sanitize_label_name(key);
        (format!("{PREFIX}cluster_tag_{name}"), value.clone())
    });
    let shared: Vec<_> = named.chain(tags).collect();
    let target = |(i, endpoint): (usize, &String)| {
        let index = (format!("{PREFIX}{index}"), i.to_string());
        let address = (ADDRESS.to_owned(), host_and_port(endpoint, port));
        shared.iter().cloned().chain([index, address]).collect()
    };
    endpoints.iter().enumerate().map(target).collect()
}

type Named = Vec<(&'static str, Option<String>)>;

/// Labels of the cluster and of a node of any kind. As in Prometheus, most of them exist with
/// an empty value if the API omits the field.
fn node_labels(node: &Node, cluster: &Cluster) -> Named {
    let filled = |text: &Option<String>| Some(text.clone().unwrap_or_default());
    let software = &cluster.provisioned.current_broker_software_info;
    let jmx = exporter(cluster, |exporters| exporters.jmx_exporter.as_ref());
    vec![
        ("cluster_arn", filled(&cluster.cluster_arn)),
        (
            "cluster_configuration_arn",
            software.configuration_arn.clone(),
        ),
        (
            "cluster_configuration_revision",
            software.configuration_revision.map(|n| n.to_string()),
        ),
        ("cluster_jmx_exporter_enabled", jmx),
        ("cluster_kafka_version", filled(&software.kafka_version)),
        ("cluster_name", filled(&cluster.cluster_name)),
        ("cluster_state", Some(cluster.state.clone())),
        ("cluster_type", Some(cluster.cluster_type.clone())),
        ("cluster_version", filled(&cluster.current_version)),
        ("node_added_time", filled(&node.added_to_cluster_time)),
        ("node_arn", filled(&node.node_arn)),
        ("node_instance_type", filled(&node.instance_type)),
    ]
}

fn broker_labels(broker: &Broker, cluster: &Cluster) -> Named {
    let filled = |text: &Option<String>| Some(text.clone().unwrap_or_default());
    let node_exporter = exporter(cluster, |exporters| exporters.node_exporter.as_ref());
    vec![
        ("broker_client_subnet", filled(&broker.client_subnet)),
        (
            "broker_client_vpc_ip",
            filled(&broker.client_vpc_ip_address),
        ),
        ("broker_id", Some(format!("{:.0}", broker.broker_id))),
        ("broker_node_exporter_enabled", node_exporter),
        ("node_attached_eni", filled(&broker.attached_eni_id)),
    ]
}

/// State of an exporter, or `None` if the cluster has no open monitoring.
fn exporter<'a>(
    cluster: &'a Cluster,
    select: impl Fn(&'a Exporters) -> Option<&'a Exporter>,
) -> Option<String> {
    let monitoring = cluster.provisioned.open_monitoring.as_ref()?;
    let exporter = select(monitoring.prometheus.as_ref()?)?;
    Some(exporter.enabled_in_broker.to_string())
}
