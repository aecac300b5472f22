//! Peers behind a Kubernetes service: the ready and unready endpoints of its EndpointSlices.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::{
    Api, Client,
    runtime::{reflector, watcher},
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Discovered, dns::publish};
use crate::{Watched, failure::WatchFailure};

/// Label of a slice with the name of its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Last ready address of each pod with a stable hostname, such as a pod of a StatefulSet.
type Hosts = BTreeMap<String, String>;

/// Watches the EndpointSlices of a service. The last addresses stay while the API server is
/// unreachable.
pub(super) fn discover(client: Client, namespace: &str, service: &str, port: u16) -> Discovered {
    let (sender, ready) = watch::channel(None);
    let (unready_sender, unready) = watch::channel(None);
    let config = watcher::Config::default().labels(&format!("{SERVICE_NAME}={service}"));
    let (store, mut writer) = reflector::store();
    let namespaced = |client| Api::<EndpointSlice>::namespaced(client, namespace);
    let mut events = crate::watch(client, namespaced, config);
    let service = format!("{namespace}/{service}");
    tokio::spawn(async move {
        let mut hosts = Hosts::default();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return,
            };
            match event {
                Some(Ok(Watched::Event(event))) => {
                    writer.apply_watcher_event(&event);
                    // An incomplete list is not a state yet.
                    if matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                        continue;
                    }
                    let slices = store.state();
                    let (ready, unready) = addresses(&slices, port, &mut hosts);
                    publish(&unready_sender, unready);
                    publish(&sender, ready);
                }
                Some(Ok(Watched::Recovered)) => {
                    info!(service, "Watching EndpointSlices recovered");
                }
                Some(Err(error)) => {
                    let error = WatchFailure(&error);
                    warn!(service, %error, "Watching EndpointSlices failed, keeping the last addresses");
                }
                None => return,
            }
        }
    });
    Discovered { ready, unready }
}

/// Returns the ready and the unready addresses. A pod with a stable hostname comes back with
/// its disk, so its last address stays unready until the pod is ready at another one.
fn addresses(
    slices: &[impl Deref<Target = EndpointSlice>],
    port: u16,
    hosts: &mut Hosts,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first() else {
                continue;
            };
            let address = match slice.address_type.as_str() {
                "IPv6" => format!("[{address}]:{port}"),
                _ => format!("{address}:{port}"),
            };
            let is_ready = accepts_traffic(endpoint);
            if let Some(host) = &endpoint.hostname
                && (is_ready || !hosts.contains_key(host))
            {
                hosts.insert(host.clone(), address.clone());
            }
            if is_ready {
                ready.insert(address);
            } else {
                unready.insert(address);
            }
        }
    }
    unready.extend(hosts.values().cloned());
    // An endpoint may be in two slices for a moment.
    unready.retain(|address| !ready.contains(address));
    (ready, unready)
}

/// Returns true if an endpoint is ready and not terminating. The API defines missing
/// conditions as ready and not terminating.
fn accepts_traffic(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_none_or(|conditions| {
        conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn discovered(endpoints: Value, hosts: &mut Hosts) -> (Vec<String>, Vec<String>) {
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let sorted = |addresses: BTreeSet<String>| addresses.into_iter().collect();
        let (ready, unready) = addresses(&[&slice], 4317, hosts);
        (sorted(ready), sorted(unready))
    }

    #[test]
    fn only_endpoints_that_accept_traffic_are_ready() {
        let endpoints = json!([
            {"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.4"], "conditions": {"ready": true, "terminating": true}},
        ]);
        let (ready, unready) = discovered(endpoints, &mut Hosts::default());
        assert_eq!(ready, ["10.0.0.1:4317", "10.0.0.2:4317"]);
        assert_eq!(unready, ["10.0.0.3:4317", "10.0.0.4:4317"]);
    }

    #[test]
    fn a_statefulset_pod_stays_until_it_is_ready_elsewhere() {
        let mut hosts = Hosts::default();
        let mut unready = |address: &str, is_ready: bool| {
            let endpoint = json!({
                "addresses": [address],
                "hostname": "receiver-0",
                "conditions": {"ready": is_ready},
            });
            discovered(json!([endpoint]), &mut hosts).1
        };
        assert_eq!(unready("10.0.0.1", false), ["10.0.0.1:4317"]);
        assert!(unready("10.0.0.1", true).is_empty());
        let both = ["10.0.0.1:4317", "10.0.0.2:4317"];
        assert_eq!(unready("10.0.0.2", false), both);
        assert!(unready("10.0.0.2", true).is_empty());
        let (_, unready) = discovered(json!([]), &mut hosts);
        assert_eq!(unready, ["10.0.0.2:4317"]);
    }
}
