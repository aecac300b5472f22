//! Custom resources as the API server sends them.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::DynamicResourceScope};
use mesh_monitors::Kind;
use serde::Deserialize;
use serde_json::Value;

use crate::discovery::kubernetes::objects::Object;

/// API group of the Prometheus Operator.
const GROUP: &str = "monitoring.coreos.com";

/// A custom resource of the Prometheus Operator.
pub(super) trait Custom: Object {
    /// Returns `spec` as written.
    fn spec(&self) -> &Arc<Value>;
}

/// Declares a custom resource with an untyped `spec`, so that one wrong object does not spoil
/// the whole list.
macro_rules! custom {
    ($name:ident, $version:expr, $plural:expr) => {
        #[doc = concat!("A ", stringify!($name), ".")]
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            metadata: ObjectMeta,
            spec: Arc<Value>,
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = DynamicResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($name).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl Object for $name {
            fn strip(&mut self) {
                let full = std::mem::take(&mut self.metadata);
                self.metadata = ObjectMeta {
                    name: full.name,
                    namespace: full.namespace,
                    labels: full.labels,
                    ..ObjectMeta::default()
                };
            }
        }

        impl Custom for $name {
            fn spec(&self) -> &Arc<Value> {
                &self.spec
            }
        }
    };
}

custom!(
    ServiceMonitor,
    Kind::ServiceMonitor.version(),
    Kind::ServiceMonitor.plural()
);
custom!(
    PodMonitor,
    Kind::PodMonitor.version(),
    Kind::PodMonitor.plural()
);
custom!(Probe, Kind::Probe.version(), Kind::Probe.plural());
custom!(
    ScrapeConfig,
    Kind::ScrapeConfig.version(),
    Kind::ScrapeConfig.plural()
);
custom!(Prometheus, "v1", "prometheuses");
custom!(PrometheusAgent, "v1alpha1", "prometheusagents");
