//! The objects that label the targets of another object: the pods and the service
//! behind endpoints, a pod's node, …

use std::{collections::BTreeSet, sync::Arc};

use mesh::config::discovery::AttachMetadata;

use super::{
    labels::MetaLabels,
    objects::{
        Job, Namespace, Node, Object, ObjectKey, Pod, ReplicaSet, Service, TargetRef, controller,
    },
    store::Follower,
};

/// What targets are labeled with, where a role or `attach_metadata` asks for it.
#[derive(Debug, Default)]
pub struct Related {
    /// The role's own pods, services and what is attached.
    pub attach: AttachMetadata,
    /// Pods behind endpoints.
    pub pods: Option<Follower<Pod>>,
    /// Services that endpoints belong to.
    pub services: Option<Follower<Service>>,
    /// Nodes, with `attach_metadata.node`.
    pub nodes: Option<Follower<Node>>,
    /// Namespaces, with `attach_metadata.namespace`.
    pub namespaces: Option<Follower<Namespace>>,
    /// Replica sets, with `attach_metadata.deployment`.
    pub replica_sets: Option<Follower<ReplicaSet>>,
    /// Jobs, with `attach_metadata.cronjob`.
    pub jobs: Option<Follower<Job>>,
}

/// Related objects whose change is to be seen in targets.
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
    /// Whether all that is asked for has been known once.
    pub(super) fn is_synced(&self) -> bool {
        fn synced<K: Object>(follower: &Option<Follower<K>>) -> bool {
            follower.as_ref().is_none_or(Follower::is_synced)
        }
        synced(&self.pods)
            && synced(&self.services)
            && synced(&self.nodes)
            && synced(&self.namespaces)
            && synced(&self.replica_sets)
            && synced(&self.jobs)
    }

    /// Why something is not known, where that failed.
    pub(super) fn failure(&self) -> Option<String> {
        fn failure<K: Object>(follower: &Option<Follower<K>>) -> Option<String> {
            follower.as_ref().and_then(Follower::failure)
        }
        failure(&self.pods)
            .or_else(|| failure(&self.services))
            .or_else(|| failure(&self.nodes))
            .or_else(|| failure(&self.namespaces))
            .or_else(|| failure(&self.replica_sets))
            .or_else(|| failure(&self.jobs))
    }

    /// What has changed since the last call.
    ///
    /// A pod or a namespace that has gone is no change: what they label goes too,
    /// and must not lose its labels, and so become another target, before it does.
    pub(super) fn changes(&self) -> Changes {
        let mut changes = Changes {
            pods: still_there(&self.pods),
            services: changed(&self.services),
            nodes: changed(&self.nodes),
            namespaces: still_there(&self.namespaces),
            replica_sets: changed(&self.replica_sets),
            jobs: changed(&self.jobs),
        };
        if let Some(pods) = &self.pods {
            // The controllers of pods behind endpoints label those too.
            let controlled = !changes.replica_sets.is_empty() || !changes.jobs.is_empty();
            if controlled {
                changes
                    .pods
                    .extend(pods.keys_of(|pod| changes.of_controller(pod)));
            }
        }
        changes
    }

    /// The pod behind an address.
    pub(super) fn pod(&self, target: Option<&TargetRef>) -> Option<Arc<Pod>> {
        let target = target.filter(|target| target.kind == "Pod")?;
        let key = ObjectKey::new(&target.namespace, &target.name);
        self.pods.as_ref()?.get(&key)
    }

    /// The service of this name.
    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let key = ObjectKey::new(namespace, name);
        self.services.as_ref()?.get(&key)
    }

    /// Whether nodes are asked for and this is none of them.
    pub(super) fn lacks_node(&self, name: &str) -> bool {
        let nodes = self.nodes.as_ref();
        nodes.is_some_and(|nodes| nodes.get(&ObjectKey::cluster_wide(name)).is_none())
    }

    /// The labels of a target's node.
    pub(super) fn add_node(&self, labels: &mut MetaLabels, name: &str) {
        let nodes = self.nodes.as_ref();
        let node = nodes.and_then(|nodes| nodes.get(&ObjectKey::cluster_wide(name)));
        if let Some(node) = node {
            labels.object("node", &node.metadata);
        }
    }

    /// The labels of an object's namespace; its name is a label of every role.
    pub(super) fn add_namespace(&self, labels: &mut MetaLabels, name: &str) {
        let namespaces = self.namespaces.as_ref();
        let namespace = namespaces.and_then(|all| all.get(&ObjectKey::cluster_wide(name)));
        if let Some(namespace) = namespace {
            labels.labels_and_annotations("namespace", &namespace.metadata);
        }
    }

    /// The deployment of a replica set.
    pub(super) fn deployment(&self, replica_set: &ObjectKey) -> Option<String> {
        let set = self.replica_sets.as_ref()?.get(replica_set)?;
        let owner = controller(&set.metadata)?;
        (owner.kind == "Deployment").then(|| owner.name.clone())
    }

    /// The cron job of a job.
    pub(super) fn cron_job(&self, job: &ObjectKey) -> Option<String> {
        let job = self.jobs.as_ref()?.get(job)?;
        let owner = controller(&job.metadata)?;
        (owner.kind == "CronJob").then(|| owner.name.clone())
    }
}

fn changed<K: Object>(follower: &Option<Follower<K>>) -> BTreeSet<ObjectKey> {
    follower.as_ref().map(Follower::changed).unwrap_or_default()
}

fn still_there<K: Object>(follower: &Option<Follower<K>>) -> BTreeSet<ObjectKey> {
    let mut keys = changed(follower);
    keys.retain(|key| follower.as_ref().is_some_and(|all| all.get(key).is_some()));
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

    pub(super) fn of_namespace(&self, name: &str) -> bool {
        !self.namespaces.is_empty() && self.namespaces.contains(&ObjectKey::cluster_wide(name))
    }

    pub(super) fn of_node(&self, name: &str) -> bool {
        !self.nodes.is_empty() && self.nodes.contains(&ObjectKey::cluster_wide(name))
    }

    pub(super) fn of_service(&self, namespace: &str, name: &str) -> bool {
        !self.services.is_empty() && self.services.contains(&ObjectKey::new(namespace, name))
    }

    /// Whether what is behind an address, or the node of that, has changed. An
    /// address with nothing behind it keeps the labels of its node, as in
    /// Prometheus.
    pub(super) fn behind(&self, target: Option<&TargetRef>, node: Option<&str>) -> bool {
        target.is_some_and(|target| match target.kind.as_str() {
            "Pod" => {
                let key = || ObjectKey::new(&target.namespace, &target.name);
                node.is_some_and(|node| self.of_node(node))
                    || !self.pods.is_empty() && self.pods.contains(&key())
            }
            "Node" => self.of_node(&target.name),
            _ => false,
        })
    }

    /// Whether the replica set or job that controls a pod has changed.
    pub(super) fn of_controller(&self, pod: &Pod) -> bool {
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
