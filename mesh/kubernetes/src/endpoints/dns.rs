//! Peers behind a DNS name: all addresses that it resolves to.

use std::{collections::BTreeSet, io, time::Duration};

use tokio::{net::lookup_host, sync::watch, time::sleep};
use tracing::warn;

use mesh_net::endpoints::Addresses;

/// Interval between two lookups.
const INTERVAL: Duration = Duration::from_secs(5);

/// Resolves a name every 5 s. After a failure the last addresses stay.
pub(super) fn discover(host: String, port: u16) -> Addresses {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        while !sender.is_closed() {
            match resolve(&host, port).await {
                Ok(addresses) => publish(&sender, addresses),
                Err(error) => warn!(host, %error, "DNS lookup failed, keeping the last addresses"),
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

async fn resolve(host: &str, port: u16) -> io::Result<BTreeSet<String>> {
    let addresses = lookup_host((host.trim_matches(['[', ']']), port)).await?;
    Ok(addresses.map(|address| address.to_string()).collect())
}

/// Publishes the addresses if they have changed.
pub(super) fn publish(sender: &watch::Sender<Option<BTreeSet<String>>>, now: BTreeSet<String>) {
    sender.send_if_modified(|known| {
        let changed = known.as_ref() != Some(&now);
        *known = Some(now);
        changed
    });
}
