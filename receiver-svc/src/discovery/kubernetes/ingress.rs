//! The role `ingress`: a target for each path of each host, for blackbox probes.

use mesh_model::{config::discovery::TargetGroup, labels::Labels};

use super::{
    labels::{MetaLabels, NAMESPACE},
    objects::{Ingress, IngressRule, Object},
    related::{Changes, Related},
    role::Role,
};

// === impl Ingress ===

impl Role for Ingress {
    const SOURCE: &'static str = "ingress";

    fn group(&self, related: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let mut labels = MetaLabels::default();
        labels.set_whole(NAMESPACE, &key.namespace);
        let class = self.spec.ingress_class_name.as_ref();
        labels.set_some("ingress_class_name", class);
        labels.object("ingress", &self.metadata);
        related.add_namespace(&mut labels, &key.namespace);
        let rules = self.spec.rules.iter();
        Some(TargetGroup {
            targets: rules.flat_map(|rule| self.targets(rule)).collect(),
            labels: labels.build(),
            source: Self::source(&key),
        })
    }

    fn is_affected_by(&self, changes: &Changes) -> bool {
        changes.has_namespace(self.metadata.namespace.as_deref().unwrap_or_default())
    }
}

impl Ingress {
    fn targets(&self, rule: &IngressRule) -> Vec<Labels> {
        let mut tls_hosts = self.spec.tls.iter().flat_map(|tls| &tls.hosts);
        let scheme = if tls_hosts.any(|pattern| matches(pattern, &rule.host)) {
            "https"
        } else {
            "http"
        };
        let target = |path: &str| {
            let path = if path.is_empty() { "/" } else { path };
            let mut target = MetaLabels::at(&rule.host);
            target
                .set("ingress_scheme", scheme)
                .set("ingress_host", &rule.host)
                .set("ingress_path", path);
            target.build()
        };
        match &rule.http {
            Some(http) => http.paths.iter().map(|path| target(&path.path)).collect(),
            None => vec![target("/")],
        }
    }
}

/// Returns true if a host matches a pattern. A first label `*` matches exactly one
/// label.
fn matches(pattern: &str, host: &str) -> bool {
    pattern == host
        || match (pattern.split_once('.'), host.split_once('.')) {
            (Some((first, pattern)), Some((_, host))) => first == "*" && pattern == host,
            (None, None) => pattern == "*",
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_a_wildcard_to_exactly_one_label() {
        for (pattern, host, expected) in [
            ("example.com", "example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("a.*.com", "a.b.com", false),
            ("*x.example.com", "ax.example.com", false),
            ("*", "localhost", true),
            ("*", "a.b", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
