//! Builds the meta labels that all roles share.

use std::{fmt::Display, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_model::{
    labels::{ADDRESS, Labels, LabelsBuilder},
    validation::sanitize_label_name,
};

pub(super) use super::super::host_and_port;

/// Label with the namespace of the role's object.
pub(super) const NAMESPACE: &str = "__meta_kubernetes_namespace";

const PREFIX: &str = "__meta_kubernetes_";

/// Builder for labels whose names lack the prefix `__meta_kubernetes_`.
#[derive(Clone, Debug, Default)]
pub(super) struct MetaLabels {
    labels: LabelsBuilder,
    /// Labels that other targets have too.
    base: Option<Arc<Labels>>,
}

// === impl MetaLabels ===

impl MetaLabels {
    /// Creates the labels of a target at this address.
    pub(super) fn at(address: impl Into<String>) -> Self {
        let mut labels = Self::default();
        labels.set_whole(ADDRESS, address);
        labels
    }

    /// Sets `__meta_kubernetes_NAME`. An empty value sets no label.
    pub(super) fn set(&mut self, name: impl Display, value: impl Into<String>) -> &mut Self {
        self.labels.set(format!("{PREFIX}{name}"), value);
        self
    }

    /// Sets a label by its whole name.
    pub(super) fn set_whole(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.labels.set(name, value);
        self
    }

    /// Adds labels that other targets have too.
    pub(super) fn set_base(&mut self, base: Arc<Labels>) -> &mut Self {
        self.base = Some(base);
        self
    }

    /// Builds the labels.
    pub(super) fn build(self) -> Labels {
        let labels = self.labels.build();
        match self.base {
            Some(base) => labels.with_base(base),
            None => labels,
        }
    }

    /// Sets the label if there is a value.
    pub(super) fn set_some(
        &mut self,
        name: impl Display,
        value: Option<impl Into<String>>,
    ) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    /// Sets the object's name, labels and annotations.
    pub(super) fn object(&mut self, resource: &str, meta: &ObjectMeta) -> &mut Self {
        let name = meta.name.as_deref().unwrap_or_default();
        self.set(format_args!("{resource}_name"), name)
            .labels_and_annotations(resource, meta)
    }

    /// Sets the object's labels and annotations. If two names are equal once
    /// sanitized, the last in sort order wins; in Prometheus either can win.
    pub(super) fn labels_and_annotations(
        &mut self,
        resource: &str,
        meta: &ObjectMeta,
    ) -> &mut Self {
        for (kind, map) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
            for (name, value) in map.iter().flatten() {
                let name = sanitize_label_name(name);
                self.set(format_args!("{resource}_{kind}_{name}"), value)
                    .set(format_args!("{resource}_{kind}present_{name}"), "true");
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_an_empty_object_label_as_present() {
        let meta = ObjectMeta {
            name: Some("n".to_owned()),
            labels: Some([("a/b".to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        };
        let mut labels = MetaLabels::default();
        labels.object("pod", &meta);
        assert_eq!(
            labels.build().to_string(),
            r#"{__meta_kubernetes_pod_labelpresent_a_b="true", __meta_kubernetes_pod_name="n"}"#
        );
    }

    #[test]
    fn puts_ipv6_addresses_in_brackets() {
        assert_eq!(host_and_port("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(host_and_port("fd00::1", 80), "[fd00::1]:80");
    }
}
