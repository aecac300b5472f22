//! Behaviour of Kubernetes discovery that Prometheus' own tests do not cover.

use std::{any::Any, collections::HashMap};

use mesh_model::config::discovery::AttachMetadata;
use objects::{EndpointSlice, Job, Node, Object, ObjectKey, Pod, Service};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

mod deployed;

/// Stores by resource and scope, which the tests fill.
#[derive(Default)]
struct Stores(Mutex<HashMap<(String, Scope), Arc<dyn Any + Send + Sync>>>);

impl Stores {
    /// Returns the store of a resource within a scope.
    fn of<K: Object>(&self, scope: Scope) -> Arc<Store<K>> {
        let key = (K::plural(&()).into_owned(), scope);
        let mut stores = self.0.lock();
        let store = stores.entry(key).or_insert_with(|| {
            let store = Store::<K>::default();
            store.replace([]);
            Arc::new(store)
        });
        store.clone().downcast().unwrap()
    }

    fn apply<K: Object>(&self, object: Value) {
        let object: K = serde_json::from_value(object).unwrap();
        self.of(Scope::default()).apply(object);
    }

    fn scopes(&self, resource: &str) -> Vec<Scope> {
        let stores = self.0.lock();
        let keys = stores.keys().filter(|(of, _)| of == resource);
        let mut scopes: Vec<_> = keys.map(|(_, scope)| scope.clone()).collect();
        scopes.sort_by_key(ToString::to_string);
        scopes
    }
}

impl Watches for Stores {
    fn subscribe<K: Object>(&self, scope: Scope) -> Subscriber<K> {
        Subscriber::new(self.of(scope), Arc::default())
    }
}

fn config(role: KubernetesRole) -> KubernetesConfig {
    KubernetesConfig {
        role,
        api_server: None,
        kubeconfig_file: None,
        http: Default::default(),
        namespaces: Vec::new(),
        own_namespace: false,
        selectors: Vec::new(),
        attach_metadata: AttachMetadata::default(),
    }
}

fn pod(name: &str, controller: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": controller, "uid": "", "controller": true},
        ]},
        "status": {"podIP": "10.0.0.1", "phase": "Running"},
    })
}

fn slice(pod: &str) -> Value {
    json!({
        "metadata": {
            "name": "s-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"},
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["10.0.0.1"],
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod},
        }],
        "ports": [{"port": 80}],
    })
}

/// Updates the discoverer and returns a label of its only changed target.
fn target(discoverer: &dyn Discover, label: &str) -> Option<String> {
    let groups = discoverer.update().unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].targets.len(), 1);
    let name = format!("__meta_kubernetes_{label}");
    let value = groups[0].targets[0]
        .get(&name)
        .or(groups[0].labels.get(&name));
    value.map(str::to_owned)
}

#[test]
fn updates_endpoints_on_pod_changes_but_not_on_deletion() {
    let stores = Stores::default();
    let mut config = config(KubernetesRole::EndpointSlice);
    config.attach_metadata.cronjob = true;
    let discoverers = discoverers(&stores, &config, "", None);
    let [discoverer] = &discoverers[..] else {
        panic!("one discoverer");
    };
    assert!(discoverer.update().unwrap().is_empty());
    stores.apply::<EndpointSlice>(slice("p"));
    assert_eq!(target(&**discoverer, "pod_name"), None);
    stores.apply::<Pod>(pod("p", "j"));
    assert_eq!(target(&**discoverer, "pod_name").as_deref(), Some("p"));
    stores.apply::<Pod>(pod("other", "j"));
    assert!(discoverer.update().unwrap().is_empty());
    // The controller of the pod's controller arrives last.
    stores.apply::<Job>(json!({"metadata": {"name": "j", "namespace": "ns", "ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "", "controller": true},
    ]}}));
    let cron_job = target(&**discoverer, "pod_cronjob_name");
    assert_eq!(cron_job.as_deref(), Some("c"));
    let pods = stores.of::<Pod>(Scope::default());
    pods.delete(&ObjectKey::new("ns", "p"));
    assert!(discoverer.update().unwrap().is_empty());
    let service = json!({"metadata": {"name": "s", "namespace": "ns"}});
    stores.apply::<Service>(service);
    assert_eq!(target(&**discoverer, "service_name").as_deref(), Some("s"));
}

#[test]
fn keeps_the_target_of_a_node_that_loses_its_addresses() {
    let stores = Stores::default();
    let discoverers = discoverers(&stores, &config(KubernetesRole::Node), "", None);
    stores.apply::<Node>(json!({
        "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "Hostname", "address": "h"}]},
    }));
    let address = target(&*discoverers[0], "node_address_Hostname");
    assert_eq!(address.as_deref(), Some("h"));
    stores.apply::<Node>(json!({"metadata": {"name": "n"}}));
    assert!(discoverers[0].update().unwrap().is_empty());
}

#[test]
fn watches_each_namespace_once_and_nodes_cluster_wide() {
    let stores = Stores::default();
    let mut config = config(KubernetesRole::Pod);
    config.namespaces = ["b", "a", "b"].map(str::to_owned).to_vec();
    config.own_namespace = true;
    config.attach_metadata.node = true;
    assert_eq!(discoverers(&stores, &config, "own", Some("n")).len(), 3);
    let scopes = stores.scopes("pods").into_iter();
    let scopes: Vec<_> = scopes.map(|scope| scope.to_string()).collect();
    let expected = ["a", "b", "own"].map(|name| format!("{name} fields spec.nodeName=n"));
    assert_eq!(scopes, expected);
    let nodes = stores.scopes("nodes");
    assert_eq!(nodes[0].to_string(), "* fields metadata.name=n");
    assert_eq!(nodes.len(), 1);
}

#[test]
fn restricts_targets_to_the_node_in_any_label() {
    let stores = Stores::default();
    let config = config(KubernetesRole::EndpointSlice);
    let discoverers = discoverers(&stores, &config, "", Some("n"));
    let endpoint = |ip: &str, node: Option<&str>, target: Value| json!({"addresses": [ip], "nodeName": node, "targetRef": target});
    stores.apply::<EndpointSlice>(json!({
        "metadata": {"name": "s-1", "namespace": "ns"},
        "ports": [{"port": 1}],
        "endpoints": [
            endpoint("10.0.0.1", Some("n"), Value::Null),
            endpoint("10.0.0.2", Some("m"), Value::Null),
            endpoint("10.0.0.3", None, json!({"kind": "Node", "name": "n"})),
            endpoint("10.0.0.4", None, json!({"kind": "Pod", "name": "n"})),
            endpoint("10.0.0.5", None, Value::Null),
        ],
    }));
    // The pod watch covers this node only.
    let this_node = Scope {
        fields: "spec.nodeName=n".to_owned(),
        ..Scope::default()
    };
    assert_eq!(stores.scopes("pods"), [this_node]);
    let groups = discoverers[0].update().unwrap();
    let targets = groups[0].targets.iter();
    let addresses: Vec<_> = targets.filter_map(|t| t.get("__address__")).collect();
    assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.3:1"]);
}
