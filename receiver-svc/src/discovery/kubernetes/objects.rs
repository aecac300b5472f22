//! Kubernetes objects, reduced to the fields that labels need.
//!
//! Responses are parsed directly into these types. Other fields (volumes,
//! environments, probes, managed fields) never use memory. For types that need only
//! metadata, the watch requests only metadata.

mod endpoint_slice;
mod endpoints;
mod ingress;
mod metadata;
mod node;
mod pod;
mod service;

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::DynamicResourceScope};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

pub use endpoint_slice::{Endpoint, EndpointSlice, EndpointSlicePort};
pub use endpoints::{EndpointAddress, EndpointPort, Endpoints, TargetRef};
pub use ingress::{Ingress, IngressRule};
pub use metadata::{Job, Namespace, ReplicaSet, controller};
pub use node::{Condition, Node};
pub use pod::{Container, ContainerPort, Pod};
pub use service::{Service, ServicePort};

/// A Kubernetes object in its reduced form.
pub trait Object:
    Resource<DynamicType = (), Scope = DynamicResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + PartialEq
    + Send
    + Sync
    + 'static
{
    /// Drops the fields that no label needs.
    fn strip(&mut self) {
        strip(self.meta_mut());
    }

    /// Returns the key of the object within its resource.
    fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: self.meta().namespace.clone().unwrap_or_default(),
            name: self.meta().name.clone().unwrap_or_default(),
        }
    }
}

/// Namespace and name of an object, unique within its resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace of the object; empty for cluster-scoped resources.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

// === impl ObjectKey ===

impl ObjectKey {
    /// Creates the key of a namespaced object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Creates the key of a cluster-scoped object.
    pub fn cluster_wide(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Drops all metadata except the source of labels and the controller reference.
fn strip(meta: &mut ObjectMeta) {
    let full = std::mem::take(meta);
    let mut owners = full.owner_references.unwrap_or_default();
    owners.retain(|owner| owner.controller == Some(true));
    *meta = ObjectMeta {
        name: full.name,
        namespace: full.namespace,
        uid: full.uid,
        labels: full.labels,
        annotations: full.annotations,
        owner_references: Some(owners).filter(|owners| !owners.is_empty()),
        ..ObjectMeta::default()
    };
}

/// Implements [`Resource`] for the reduced form of a `k8s_openapi` type. `metadata`
/// selects the metadata-only API.
macro_rules! resource {
    ($part:ty, $whole:ty, metadata: $metadata:literal) => {
        impl Resource for $part {
            type DynamicType = ();
            type Scope = DynamicResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$whole as Resource>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$whole as Resource>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$whole as Resource>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$whole as Resource>::plural(&())
            }

            fn metadata_api() -> bool {
                $metadata
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(Endpoints, k8s_openapi::api::core::v1::Endpoints, metadata: false);
resource!(EndpointSlice, k8s_openapi::api::discovery::v1::EndpointSlice, metadata: false);
resource!(Ingress, k8s_openapi::api::networking::v1::Ingress, metadata: false);
resource!(Job, k8s_openapi::api::batch::v1::Job, metadata: true);
resource!(Namespace, k8s_openapi::api::core::v1::Namespace, metadata: true);
resource!(Node, k8s_openapi::api::core::v1::Node, metadata: false);
resource!(Pod, k8s_openapi::api::core::v1::Pod, metadata: false);
resource!(ReplicaSet, k8s_openapi::api::apps::v1::ReplicaSet, metadata: true);
resource!(Service, k8s_openapi::api::core::v1::Service, metadata: false);

/// Deserializes `null` as the default value, since Go writes an empty list as
/// `null`.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
