//! Related objects, which add labels to the targets of other objects.
//!
//! Examples: the pods and the service of an endpoint, the node of a pod.

use std::{collections::BTreeSet, sync::Arc};

use mesh_model::config::discovery::AttachMetadata;

use super::{
    labels::MetaLabels,
    objects::{
        Job, Namespace, Node, Object, ObjectKey, Pod, ReplicaSet, Service, TargetRef, controller,
    },
    store::Subscriber,
};

/// Related objects that the role or `attach_metadata` requires.
#[derive(Debug, Default)]
pub struct Related {
    /// The `attach_metadata` settings.
    pub attach: AttachMetadata,
    /// Pods that back endpoints.
    pub pods: Option<Subscriber<Pod>>,
    /// Services of endpoints.
    pub services: Option<Subscriber<Service>>,
    /// Nodes, with `attach_metadata.node`.
    pub nodes: Option<Subscriber<Node>>,
    /// Namespaces, with `attach_metadata.namespace`.
    pub namespaces: Option<Subscriber<Namespace>>,
    /// Replica sets, with `attach_metadata.deployment`.
    pub replica_sets: Option<Subscriber<ReplicaSet>>,
    /// Jobs, with `attach_metadata.cronjob`.
    pub jobs: Option<Subscriber<Job>>,
}

/// Keys of the related objects that have changed.
#[derive(Debug, Default)]
pub struct Changes {
    pods: BTreeSet<ObjectKey>,
    services: BTreeSet<ObjectKey>,
    nodes: BTreeSet<ObjectKey>,
    namespaces: BTreeSet<ObjectKey>,
    replica_sets: BTreeSet<ObjectKey>,
    jobs: BTreeSet<ObjectKey>,
}

// === impl Related ===

impl Related {
    /// Returns true once the stores of all required objects are synced.
    pub(super) fn is_synced(&self) -> bool {
        fn synced<K: Object>(subscriber: &Option<Subscriber<K>>) -> bool {
            subscriber.as_ref().is_none_or(Subscriber::is_synced)
        }
        synced(&self.pods)
            && synced(&self.services)
            && synced(&self.nodes)
            && synced(&self.namespaces)
            && synced(&self.replica_sets)
            && synced(&self.jobs)
    }

    /// Returns the failure of a store that is not synced, if there is one.
    pub(super) fn failure(&self) -> Option<String> {
        fn failure<K: Object>(subscriber: &Option<Subscriber<K>>) -> Option<String> {
            subscriber.as_ref().and_then(Subscriber::failure)
        }
        failure(&self.pods)
            .or_else(|| failure(&self.services))
            .or_else(|| failure(&self.nodes))
            .or_else(|| failure(&self.namespaces))
            .or_else(|| failure(&self.replica_sets))
            .or_else(|| failure(&self.jobs))
    }

    /// Takes the changes since the last call.
    ///
    /// Skips deleted pods and namespaces. The targets they label will be deleted too.
    /// Until then a target must keep its labels, or it would become another target.
    pub(super) fn take_changes(&self) -> Changes {
        let mut changes = Changes {
            pods: take_present(&self.pods),
            services: take_changed(&self.services),
            nodes: take_changed(&self.nodes),
            namespaces: take_present(&self.namespaces),
            replica_sets: take_changed(&self.replica_sets),
            jobs: take_changed(&self.jobs),
        };
        if let Some(pods) = &self.pods {
            // The controllers of backing pods label the endpoints too.
            let controlled = !changes.replica_sets.is_empty() || !changes.jobs.is_empty();
            if controlled {
                changes
                    .pods
                    .extend(pods.keys_of(|pod| changes.has_controller_of(pod)));
            }
        }
        changes
    }

    /// Returns the pod that an endpoint address refers to.
    pub(super) fn pod(&self, target: Option<&TargetRef>) -> Option<Arc<Pod>> {
        let target = target.filter(|target| target.kind == "Pod")?;
        let key = ObjectKey::new(&target.namespace, &target.name);
        self.pods.as_ref()?.get(&key)
    }

    /// Returns the service with this name.
    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let key = ObjectKey::new(namespace, name);
        self.services.as_ref()?.get(&key)
    }

    /// Returns true if nodes are required and this one is unknown.
    pub(super) fn lacks_node(&self, name: &str) -> bool {
        let nodes = self.nodes.as_ref();
        nodes.is_some_and(|nodes| nodes.get(&ObjectKey::cluster_wide(name)).is_none())
    }

    /// Adds the labels of the target's node.
    pub(super) fn add_node(&self, labels: &mut MetaLabels, name: &str) {
        let nodes = self.nodes.as_ref();
        let node = nodes.and_then(|nodes| nodes.get(&ObjectKey::cluster_wide(name)));
        if let Some(node) = node {
            labels.object("node", &node.metadata);
        }
    }

    /// Adds the labels and annotations of the object's namespace. Each role adds the
    /// namespace's name itself.
    pub(super) fn add_namespace(&self, labels: &mut MetaLabels, name: &str) {
        let namespaces = self.namespaces.as_ref();
        let namespace = namespaces.and_then(|all| all.get(&ObjectKey::cluster_wide(name)));
        if let Some(namespace) = namespace {
            labels.labels_and_annotations("namespace", &namespace.metadata);
        }
    }

    /// Returns the name of the deployment that controls a replica set.
    pub(super) fn deployment(&self, replica_set: &ObjectKey) -> Option<String> {
        let set = self.replica_sets.as_ref()?.get(replica_set)?;
        let owner = controller(&set.metadata)?;
        (owner.kind == "Deployment").then(|| owner.name.clone())
    }

    /// Returns the name of the cron job that controls a job.
    pub(super) fn cron_job(&self, job: &ObjectKey) -> Option<String> {
        let job = self.jobs.as_ref()?.get(job)?;
        let owner = controller(&job.metadata)?;
        (owner.kind == "CronJob").then(|| owner.name.clone())
    }
}

/// Takes the keys of the changed objects.
fn take_changed<K: Object>(subscriber: &Option<Subscriber<K>>) -> BTreeSet<ObjectKey> {
    subscriber
        .as_ref()
        .map(Subscriber::take_changed)
        .unwrap_or_default()
}

/// Takes the keys of the changed objects and drops those of deleted objects.
fn take_present<K: Object>(subscriber: &Option<Subscriber<K>>) -> BTreeSet<ObjectKey> {
    let mut keys = take_changed(subscriber);
    keys.retain(|key| {
        subscriber
            .as_ref()
            .is_some_and(|all| all.get(key).is_some())
    });
    keys
}

// === impl Changes ===

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
            && self.services.is_empty()
            && self.nodes.is_empty()
            && self.namespaces.is_empty()
            && self.replica_sets.is_empty()
            && self.jobs.is_empty()
    }

    pub(super) fn has_namespace(&self, name: &str) -> bool {
        !self.namespaces.is_empty() && self.namespaces.contains(&ObjectKey::cluster_wide(name))
    }

    pub(super) fn has_node(&self, name: &str) -> bool {
        !self.nodes.is_empty() && self.nodes.contains(&ObjectKey::cluster_wide(name))
    }

    pub(super) fn has_service(&self, namespace: &str, name: &str) -> bool {
        !self.services.is_empty() && self.services.contains(&ObjectKey::new(namespace, name))
    }

    /// Returns true if the target of an endpoint address, or its node, has changed. An
    /// address without a target keeps the labels of its node, as in Prometheus.
    pub(super) fn affects_address(&self, target: Option<&TargetRef>, node: Option<&str>) -> bool {
        target.is_some_and(|target| match target.kind.as_str() {
            "Pod" => {
                let key = || ObjectKey::new(&target.namespace, &target.name);
                node.is_some_and(|node| self.has_node(node))
                    || !self.pods.is_empty() && self.pods.contains(&key())
            }
            "Node" => self.has_node(&target.name),
            _ => false,
        })
    }

    /// Returns true if the replica set or job that controls a pod has changed.
    pub(super) fn has_controller_of(&self, pod: &Pod) -> bool {
        controller(&pod.metadata).is_some_and(|owner| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let key = ObjectKey::new(namespace, &owner.name);
            match owner.kind.as_str() {
                "ReplicaSet" => self.replica_sets.contains(&key),
                "Job" => self.jobs.contains(&key),
                _ => false,
            }
        })
    }
}
