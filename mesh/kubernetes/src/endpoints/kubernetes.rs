//! Peers behind a Kubernetes service: the endpoints of its EndpointSlices, ready or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, watcher},
};
use tokio::sync::watch;
use tracing::warn;

use super::{Discovered, dns::publish};
use crate::WatchFailure;

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The addresses at which pods of a name of their own, as a StatefulSet's have, were last
/// ready.
type Hosts = BTreeMap<String, String>;

/// Watches the EndpointSlices of a service. While the API server cannot be
/// reached the addresses known last stay.
pub(super) fn discover(client: Client, namespace: &str, service: &str, port: u16) -> Discovered {
    let (sender, ready) = watch::channel(None);
    let (unready_sender, unready) = watch::channel(None);
    let api: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("{SERVICE_NAME}={service}"));
    let (store, writer) = reflector::store();
    let service = format!("{namespace}/{service}");
    tokio::spawn(async move {
        let mut hosts = Hosts::default();
        let mut events = crate::watch(api, config).reflect(writer).boxed();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return,
            };
            match event {
                // A list under way is not a state yet.
                Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
                Some(Ok(_)) => {
                    let slices = store.state();
                    let (ready, unready) = addresses(&slices, port, &mut hosts);
                    publish(&unready_sender, unready);
                    publish(&sender, ready);
                }
                Some(Err(error)) => {
                    let error = WatchFailure(&error);
                    warn!(service, %error, "EndpointSlices not watched, the last ones stay");
                }
                None => return,
            }
        }
    });
    Discovered { ready, unready }
}

/// The addresses of endpoints that take traffic, and of those that do not: a pod of a name
/// of its own comes back with its disk, and is there until it is ready at another address.
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
            let is_ready = takes_traffic(endpoint);
            if let Some(host) = &endpoint.hostname
                && (is_ready || !hosts.contains_key(host))
            {
                hosts.insert(host.clone(), address.clone());
            }
            match is_ready {
                true => ready.insert(address),
                false => unready.insert(address),
            };
        }
    }
    unready.extend(hosts.values().cloned());
    // One may be in two slices for a moment.
    unready.retain(|address| !ready.contains(address));
    (ready, unready)
}

/// Nothing said means ready, and not terminating.
fn takes_traffic(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_none_or(|conditions| {
        conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(endpoints: Value, hosts: &mut Hosts) -> (Vec<String>, Vec<String>) {
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let known = |of: BTreeSet<String>| of.into_iter().collect();
        let (ready, unready) = addresses(&[&slice], 4317, hosts);
        (known(ready), known(unready))
    }

    #[test]
    fn only_what_takes_traffic_is_ready() {
        let endpoints = json!([
            {"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.4"], "conditions": {"ready": true, "terminating": true}},
        ]);
        let (ready, unready) = found(endpoints, &mut Hosts::default());
        assert_eq!(ready, ["10.0.0.1:4317", "10.0.0.2:4317"]);
        assert_eq!(unready, ["10.0.0.3:4317", "10.0.0.4:4317"]);
    }

    #[test]
    fn a_pod_of_a_statefulset_is_there_until_it_is_ready_elsewhere() {
        let mut hosts = Hosts::default();
        let mut unready = |address: &str, is_ready: bool| {
            let endpoint = json!({
                "addresses": [address],
                "hostname": "receiver-0",
                "conditions": {"ready": is_ready},
            });
            found(json!([endpoint]), &mut hosts).1
        };
        assert_eq!(unready("10.0.0.1", false), ["10.0.0.1:4317"]);
        assert!(unready("10.0.0.1", true).is_empty());
        let both = ["10.0.0.1:4317", "10.0.0.2:4317"];
        assert_eq!(unready("10.0.0.2", false), both);
        assert!(unready("10.0.0.2", true).is_empty());
        let (_, unready) = found(json!([]), &mut hosts);
        assert_eq!(unready, ["10.0.0.2:4317"]);
    }
}
