//! The part of Kubernetes' objects that some label needs.
//!
//! Objects are read straight into these types: what they do not have (volumes,
//! environments, probes, the history of managed fields) never takes memory. The
//! metadata of what only needs that is all that is asked for.

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

/// A Kubernetes object as it is kept.
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
    /// Drops what no label needs.
    fn strip(&mut self) {
        strip(self.meta_mut());
    }

    /// What it is called among those of its resource.
    fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: self.meta().namespace.clone().unwrap_or_default(),
            name: self.meta().name.clone().unwrap_or_default(),
        }
    }
}

/// The name of an object within its resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its namespace; empty where its resource has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

// === impl ObjectKey ===

impl ObjectKey {
    /// The key of an object in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object whose resource has no namespaces.
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

/// Keeps what labels are made of, and who controls the object.
fn strip(meta: &mut ObjectMeta) {
    let all = std::mem::take(meta);
    let mut owners = all.owner_references.unwrap_or_default();
    owners.retain(|owner| owner.controller == Some(true));
    *meta = ObjectMeta {
        name: all.name,
        namespace: all.namespace,
        uid: all.uid,
        labels: all.labels,
        annotations: all.annotations,
        owner_references: Some(owners).filter(|owners| !owners.is_empty()),
        ..ObjectMeta::default()
    };
}

/// Implements [`Resource`] for a part of one of `k8s_openapi`'s types, which may
/// be asked for by its metadata alone.
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

/// Go writes an empty list as `null`.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
