//! The role `service`: a target for each port of each service, by cluster DNS name.

use mesh_model::{config::discovery::TargetGroup, labels::Labels};

use super::{
    labels::{MetaLabels, NAMESPACE, host_and_port},
    objects::{Object, Service, ServicePort},
    related::{Changes, Related},
    role::Role,
};

// === impl Service ===

impl Role for Service {
    const SOURCE: &'static str = "svc";

    fn group(&self, related: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let mut labels = MetaLabels::default();
        self.add_to(&mut labels);
        related.add_namespace(&mut labels, &key.namespace);
        Some(TargetGroup {
            targets: self.targets(&format!("{}.{}.svc", key.name, key.namespace)),
            labels: labels.build(),
            source: Self::source(&key),
        })
    }

    fn is_affected_by(&self, changes: &Changes) -> bool {
        changes.has_namespace(self.metadata.namespace.as_deref().unwrap_or_default())
    }
}

impl Service {
    /// Adds the service labels, which the targets of endpoints have too.
    pub(super) fn add_to(&self, labels: &mut MetaLabels) {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        labels.set_whole(NAMESPACE, namespace);
        labels.object("service", &self.metadata);
    }

    fn targets(&self, host: &str) -> Vec<Labels> {
        let target = |port: &ServicePort| {
            let mut labels = MetaLabels::at(host_and_port(host, port.port));
            labels
                .set("service_port_name", &port.name)
                .set("service_port_number", port.port.to_string())
                .set("service_port_protocol", &port.protocol)
                .set("service_type", &self.spec.kind);
            match self.spec.kind.as_str() {
                "ExternalName" => labels.set("service_external_name", &self.spec.external_name),
                _ => labels.set("service_cluster_ip", &self.spec.cluster_ip),
            };
            if self.spec.kind == "LoadBalancer" {
                labels.set("service_loadbalancer_ip", self.load_balancer_ips());
            }
            labels.build()
        };
        self.spec.ports.iter().map(target).collect()
    }

    fn load_balancer_ips(&self) -> String {
        let ingress = self.status.load_balancer.ingress.iter();
        let ips = ingress.map(|ingress| ingress.ip.as_str());
        let ips: Vec<_> = ips.filter(|ip| !ip.is_empty()).collect();
        if ips.is_empty() {
            self.spec.load_balancer_ip.clone()
        } else {
            ips.join(",")
        }
    }
}
