//! Flags of monitors.

use std::{path::PathBuf, str::FromStr};

use mesh_kubernetes::ApiServer;

/// Flags of monitors.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Monitors of the Prometheus Operator")]
pub struct MonitorArgs {
    /// Scrape also what ServiceMonitor, PodMonitor, Probe and ScrapeConfig objects of
    /// the cluster declare.
    #[arg(
        id = "monitors_cluster",
        long = "monitors.cluster",
        env = "PROMESH_MONITORS_CLUSTER"
    )]
    pub cluster: bool,

    /// kubeconfig file of the cluster, for monitors and for the targets that they
    /// select. By default the cluster of this pod, with its service account.
    #[arg(
        id = "monitors_kubeconfig",
        long = "monitors.kubeconfig",
        env = "PROMESH_MONITORS_KUBECONFIG",
        value_name = "FILE",
        requires = "monitors_cluster"
    )]
    pub kubeconfig: Option<PathBuf>,

    /// Prometheus or PrometheusAgent object with the selectors, limits and scrape
    /// classes that apply: [prometheus/|prometheusagent/]NAMESPACE/NAME. Without it and
    /// --monitors.settings, all monitors of all namespaces are selected.
    #[arg(
        id = "monitors_prometheus",
        long = "monitors.prometheus",
        env = "PROMESH_MONITORS_PROMETHEUS",
        value_name = "OBJECT",
        requires = "monitors_cluster"
    )]
    pub prometheus: Option<ObjectName>,

    /// File with such an object, for clusters without these resources. It is read
    /// again at each update.
    #[arg(
        id = "monitors_settings",
        long = "monitors.settings",
        env = "PROMESH_MONITORS_SETTINGS",
        value_name = "FILE",
        requires = "monitors_cluster",
        conflicts_with = "monitors_prometheus"
    )]
    pub settings: Option<PathBuf>,
}

/// Name of a Prometheus or PrometheusAgent object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// True for a PrometheusAgent.
    pub is_agent: bool,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

// === impl MonitorArgs ===

impl MonitorArgs {
    /// Returns the API server of the monitors.
    pub(super) fn api_server(&self) -> ApiServer {
        match &self.kubeconfig {
            Some(path) => ApiServer::Kubeconfig(path.clone()),
            None => ApiServer::InCluster,
        }
    }
}

// === impl ObjectName ===

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let (is_agent, namespace, name) = match parts[..] {
            [namespace, name] | ["prometheus", namespace, name] => (false, namespace, name),
            ["prometheusagent", namespace, name] => (true, namespace, name),
            _ => (false, "", ""),
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(
                "expected NAMESPACE/NAME, prometheus/NAMESPACE/NAME or prometheusagent/NAMESPACE/NAME"
                    .to_owned(),
            );
        }
        Ok(Self {
            is_agent,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kind_of_the_object() {
        let read = |text: &str| text.parse::<ObjectName>().map(|name| name.is_agent);
        assert_eq!(read("mon/main"), Ok(false));
        assert_eq!(read("prometheus/mon/main"), Ok(false));
        assert_eq!(read("prometheusagent/mon/main"), Ok(true));
        for text in ["main", "/main", "mon/", "a/b/c", "prometheus/a/b/c"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
