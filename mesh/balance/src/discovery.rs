//! Stream of added and removed endpoints, from a changing set of addresses.

use std::{collections::BTreeSet, convert::Infallible, future::ready, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio_stream::wrappers::WatchStream;
use tower::{discover::Change, load::PeakEwma};

use mesh_net::{connector::Connector, endpoints::Addresses};
use mesh_wire::compression::Compression;

use crate::{
    BalanceMetrics,
    connection::Connecting,
    ejection::Ejection,
    endpoint::Endpoint,
    load::{self, FailureCost},
    pool::Pool,
};

/// Stream that tower's balancer discovers its endpoints from.
pub(crate) type Discovery = BoxStream<'static, Result<Change<String, Stack>, Infallible>>;

/// Service stack of one endpoint.
pub(crate) type Stack = PeakEwma<Ejection<Endpoint>, FailureCost>;

/// Makes the service stack of an address.
pub(crate) struct NewEndpoint {
    pub(crate) connector: Connector,
    pub(crate) compression: Compression,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) metrics: BalanceMetrics,
    pub(crate) pool: Arc<Pool>,
}

/// Returns the changes of `addresses`. Endpoints of unchanged addresses keep their
/// connections.
pub(crate) fn discover(addresses: Addresses, new_endpoint: NewEndpoint) -> Discovery {
    WatchStream::new(addresses)
        // No value yet: discovery has not completed for the first time.
        .filter_map(ready)
        .flat_map(move |addresses| stream::iter(new_endpoint.changes(&addresses)))
        .map(Ok)
        // The sender of a fixed list is dropped at once. The balancer polls on.
        .chain(stream::pending())
        .boxed()
}

// === impl NewEndpoint ===

impl NewEndpoint {
    fn changes(&self, addresses: &BTreeSet<String>) -> Vec<Change<String, Stack>> {
        let removed = self.pool.retain(addresses).into_iter().map(Change::Remove);
        let added = addresses
            .iter()
            .filter(|address| !self.pool.contains(address));
        let added: Vec<_> = added
            .map(|address| Change::Insert(address.clone(), self.endpoint(address)))
            .collect();
        self.metrics.set_exporters(addresses.len());
        removed.chain(added).collect()
    }

    fn endpoint(&self, address: &str) -> Stack {
        let connecting = Connecting {
            address: address.to_owned(),
            connector: self.connector.clone(),
            ping_interval: self.ping_interval,
            changed: self.pool.changed(),
            metrics: self.metrics.clone(),
        };
        let endpoint = Endpoint::connect(connecting, self.compression);
        let health = self.pool.add(address, endpoint.connection());
        load::measure(Ejection::new(endpoint, health, self.pool.clone()))
    }
}
