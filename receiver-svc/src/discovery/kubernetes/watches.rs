//! Which objects a configuration needs to watch.

use std::fmt;

use mesh::config::discovery::{KubernetesConfig, KubernetesRole};

use super::{
    node_local::NodeLocal,
    objects::{EndpointSlice, Endpoints, Ingress, Node, Object, Pod, Service},
    related::Related,
    role::{Discover, Discoverer, Role},
    store::Follower,
};

/// The objects of a resource that one watch is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Those of a namespace; `None` for all, and for those that have none.
    pub namespace: Option<String>,
    /// Those with these labels; empty for all.
    pub labels: String,
    /// Those with these fields; empty for all.
    pub fields: String,
}

/// Where objects are watched.
pub trait Watches {
    /// The objects of a scope from now on.
    fn follow<K: Object>(&self, scope: Scope) -> Follower<K>;
}

/// A configuration whose watches are looked for.
struct Needs<'a, W> {
    watches: &'a W,
    config: &'a KubernetesConfig,
    node: Option<&'a str>,
}

/// What makes the target groups of a configuration, one for each namespace.
/// `own_namespace` is that of this pod; with `node`, only targets on that node are
/// made.
pub fn discoverers<W: Watches>(
    watches: &W,
    config: &KubernetesConfig,
    own_namespace: &str,
    node: Option<&str>,
) -> Vec<Box<dyn Discover>> {
    use KubernetesRole as Of;
    let needs = Needs {
        watches,
        config,
        node,
    };
    if config.role == Of::Node {
        return vec![needs.discoverer::<Node>(Of::Node, None)];
    }
    let namespaces = namespaces(config, own_namespace).into_iter();
    let discoverer = |namespace: Option<String>| {
        let namespace = namespace.as_deref();
        match config.role {
            Of::Node => needs.discoverer::<Node>(Of::Node, None),
            Of::Service => needs.discoverer::<Service>(Of::Service, namespace),
            Of::Pod => needs.discoverer::<Pod>(Of::Pod, namespace),
            Of::Endpoints => needs.discoverer::<Endpoints>(Of::Endpoints, namespace),
            Of::EndpointSlice => needs.discoverer::<EndpointSlice>(Of::EndpointSlice, namespace),
            Of::Ingress => needs.discoverer::<Ingress>(Of::Ingress, namespace),
        }
    };
    namespaces.map(discoverer).collect()
}

/// The namespaces of a configuration, each once; `None` for all.
fn namespaces(config: &KubernetesConfig, own: &str) -> Vec<Option<String>> {
    let own = config.own_namespace.then(|| own.to_owned());
    let mut all: Vec<_> = config.namespaces.iter().cloned().chain(own).collect();
    all.sort();
    all.dedup();
    match all.is_empty() {
        true => vec![None],
        false => all.into_iter().map(Some).collect(),
    }
}

// === impl Needs ===

impl<W: Watches> Needs<'_, W> {
    fn discoverer<R: Role>(
        &self,
        role: KubernetesRole,
        namespace: Option<&str>,
    ) -> Box<dyn Discover> {
        let objects = self.follow::<R>(Some(role), namespace);
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
        let of_pods = endpoints || self.config.role == Of::Pod;
        Related {
            attach,
            pods: endpoints.then(|| self.follow(Some(Of::Pod), namespace)),
            services: endpoints.then(|| self.follow(Some(Of::Service), namespace)),
            nodes: (of_pods && attach.node).then(|| self.follow(Some(Of::Node), None)),
            namespaces: (self.config.role != Of::Node && attach.namespace)
                .then(|| self.follow(None, None)),
            replica_sets: (of_pods && attach.deployment).then(|| self.follow(None, namespace)),
            jobs: (of_pods && attach.cronjob).then(|| self.follow(None, namespace)),
        }
    }

    /// The objects in a namespace that the selector of a role lets through.
    fn follow<K: Object>(
        &self,
        role: Option<KubernetesRole>,
        namespace: Option<&str>,
    ) -> Follower<K> {
        let mut selectors = self.config.selectors.iter();
        let selector = selectors.find(|selector| Some(selector.role) == role);
        let labels = selector.map(|selector| selector.label.clone());
        let field = selector.map_or("", |selector| &selector.field);
        self.watches.follow(Scope {
            namespace: namespace.map(str::to_owned),
            labels: labels.unwrap_or_default(),
            fields: self.fields(role, field),
        })
    }

    /// A field selector, with that of the one node that counts.
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
