//! Peers behind a Kubernetes service: the ready endpoints of its EndpointSlices.

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, watcher},
};
use tokio::sync::watch;
use tracing::warn;

use super::{Addresses, dns::publish};
use crate::kubernetes::{self, WatchFailure};

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Watches the EndpointSlices of a service. While the API server cannot be
/// reached the addresses known last stay.
pub(super) fn discover(client: Client, namespace: &str, service: &str, port: u16) -> Addresses {
    let (sender, receiver) = watch::channel(None);
    let api: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("{SERVICE_NAME}={service}"));
    let (store, writer) = reflector::store();
    let service = format!("{namespace}/{service}");
    tokio::spawn(async move {
        let mut events = kubernetes::watch(api, config).reflect(writer).boxed();
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
                    let ready = slices.iter().flat_map(|slice| ready(slice, port));
                    publish(&sender, ready.collect());
                }
                Some(Err(error)) => {
                    let error = WatchFailure(&error);
                    warn!(service, %error, "EndpointSlices not watched, the last ones stay");
                }
                None => return,
            }
        }
    });
    receiver
}

/// The addresses of a slice's endpoints that take traffic.
fn ready(slice: &EndpointSlice, port: u16) -> impl Iterator<Item = String> {
    slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| takes_traffic(endpoint))
        .filter_map(|endpoint| endpoint.addresses.first())
        .map(move |address| match slice.address_type.as_str() {
            "IPv6" => format!("[{address}]:{port}"),
            _ => format!("{address}:{port}"),
        })
}

/// Nothing said means ready, and not terminating.
fn takes_traffic(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_none_or(|conditions| {
        conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_traffic_is_an_endpoint() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"], "conditions": {"ready": true, "terminating": true}},
            ],
        }))
        .unwrap();
        let ready: Vec<_> = ready(&slice, 4317).collect();
        assert_eq!(ready, ["10.0.0.1:4317", "10.0.0.2:4317"]);
    }
}
