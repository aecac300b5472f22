//! Maps a configuration to the watches and discoverers that it needs.

use std::fmt;

use mesh_model::config::discovery::{KubernetesConfig, KubernetesRole};

use super::{
    node_local::NodeLocal,
    objects::{EndpointSlice, Endpoints, Ingress, Node, Object, Pod, Service},
    related::Related,
    role::{Discover, Discoverer, Role},
    store::Subscriber,
};

/// Selects the objects of a resource that one watch covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Namespace of the objects; `None` for all namespaces and for cluster-scoped
    /// resources.
    pub namespace: Option<String>,
    /// Label selector; empty for all objects.
    pub labels: String,
    /// Field selector; empty for all objects.
    pub fields: String,
}

/// A source of watched objects.
pub trait Watches {
    /// Subscribes to the objects of a scope.
    fn subscribe<K: Object>(&self, scope: Scope) -> Subscriber<K>;
}

/// Builds the discoverers of a configuration.
struct Builder<'a, W> {
    watches: &'a W,
    config: &'a KubernetesConfig,
    node: Option<&'a str>,
}

/// Builds the discoverers of a configuration, one per namespace.
///
/// `own_namespace` is the namespace of this pod. With `node`, the discoverers build
/// only the targets on that node.
pub fn discoverers<W: Watches>(
    watches: &W,
    config: &KubernetesConfig,
    own_namespace: &str,
    node: Option<&str>,
) -> Vec<Box<dyn Discover>> {
    use KubernetesRole as Of;
    let builder = Builder {
        watches,
        config,
        node,
    };
    if config.role == Of::Node {
        return vec![builder.discoverer::<Node>(Of::Node, None)];
    }
    let namespaces = namespaces(config, own_namespace).into_iter();
    let discoverer = |namespace: Option<String>| {
        let namespace = namespace.as_deref();
        match config.role {
            Of::Node => builder.discoverer::<Node>(Of::Node, None),
            Of::Service => builder.discoverer::<Service>(Of::Service, namespace),
            Of::Pod => builder.discoverer::<Pod>(Of::Pod, namespace),
            Of::Endpoints => builder.discoverer::<Endpoints>(Of::Endpoints, namespace),
            Of::EndpointSlice => builder.discoverer::<EndpointSlice>(Of::EndpointSlice, namespace),
            Of::Ingress => builder.discoverer::<Ingress>(Of::Ingress, namespace),
        }
    };
    namespaces.map(discoverer).collect()
}

/// Returns the distinct namespaces of a configuration; `None` stands for all.
fn namespaces(config: &KubernetesConfig, own: &str) -> Vec<Option<String>> {
    let own = config.own_namespace.then(|| own.to_owned());
    let mut all: Vec<_> = config.namespaces.iter().cloned().chain(own).collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        vec![None]
    } else {
        all.into_iter().map(Some).collect()
    }
}

// === impl Builder ===

impl<W: Watches> Builder<'_, W> {
    fn discoverer<R: Role>(
        &self,
        role: KubernetesRole,
        namespace: Option<&str>,
    ) -> Box<dyn Discover> {
        let objects = self.subscribe::<R>(Some(role), namespace);
        let discoverer = Discoverer::new(objects, self.related(namespace));
        match self.node {
            Some(node) => Box::new(NodeLocal::new(discoverer, node)),
            None => Box::new(discoverer),
        }
    }

    fn related(&self, namespace: Option<&str>) -> Related {
        use KubernetesRole as Of;
        let attach = self.config.attach_metadata;
        let endpoints = matches!(self.config.role, Of::Endpoints | Of::EndpointSlice);
        let has_pods = endpoints || self.config.role == Of::Pod;
        Related {
            attach,
            pods: endpoints.then(|| self.subscribe(Some(Of::Pod), namespace)),
            services: endpoints.then(|| self.subscribe(Some(Of::Service), namespace)),
            nodes: (has_pods && attach.node).then(|| self.subscribe(Some(Of::Node), None)),
            namespaces: (self.config.role != Of::Node && attach.namespace)
                .then(|| self.subscribe(None, None)),
            replica_sets: (has_pods && attach.deployment).then(|| self.subscribe(None, namespace)),
            jobs: (has_pods && attach.cronjob).then(|| self.subscribe(None, namespace)),
        }
    }

    /// Subscribes to the objects in a namespace that match the selector of a role.
    fn subscribe<K: Object>(
        &self,
        role: Option<KubernetesRole>,
        namespace: Option<&str>,
    ) -> Subscriber<K> {
        let mut selectors = self.config.selectors.iter();
        let selector = selectors.find(|selector| Some(selector.role) == role);
        let labels = selector.map(|selector| selector.label.clone());
        let field = selector.map_or("", |selector| &selector.field);
        self.watches.subscribe(Scope {
            namespace: namespace.map(str::to_owned),
            labels: labels.unwrap_or_default(),
            fields: self.fields(role, field),
        })
    }

    /// Extends a field selector with the node, if targets are restricted to one.
    fn fields(&self, role: Option<KubernetesRole>, selector: &str) -> String {
        let of_node = match role {
            Some(KubernetesRole::Pod) => "spec.nodeName",
            Some(KubernetesRole::Node) => "metadata.name",
            _ => return selector.to_owned(),
        };
        match self.node {
            Some(node) if selector.is_empty() => format!("{of_node}={node}"),
            Some(node) => format!("{selector},{of_node}={node}"),
            None => selector.to_owned(),
        }
    }
}

// === impl Scope ===

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace.as_deref().unwrap_or("*"))?;
        for (kind, selector) in [("labels", &self.labels), ("fields", &self.fields)] {
            if !selector.is_empty() {
                write!(f, " {kind} {selector}")?;
            }
        }
        Ok(())
    }
}
