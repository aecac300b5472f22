//! The surroundings of a receiver: its clock, its network and the peers that it knows.

use std::net::SocketAddr;

use mesh_base::clock::Clock;
use mesh_kubernetes::endpoints::{self, Discovered};
use mesh_net::{
    connector::Connector,
    endpoints::{Addresses as Known, Endpoints},
    listen::ListenAddress,
};
use tokio::net::TcpListener;
use tower::layer::util::Identity;

use super::error::Error;
use crate::args::Args;

/// Everything outside of the process that a receiver uses. A simulation passes its own.
#[derive(Debug)]
pub struct Environment<L = TcpListener, X = Identity> {
    /// Wall clock.
    pub clock: Clock,
    /// Listener of the admin port.
    pub listener: L,
    /// Listener for the other receivers of the group, if there may be any.
    pub peers: Option<L>,
    /// Listen addresses.
    pub addresses: Addresses,
    /// Opens connections to targets, exporters and members; `None` for TCP.
    pub connector: Option<Connector>,
    /// Addresses of the exporters.
    pub exporters: Known,
    /// Members of the replica group. `None` if this receiver shares its targets with no other.
    pub members: Option<Discovered>,
    /// Layer around the client of the exporters. It sees each Export and its verdict.
    pub exports: X,
    /// Reloads the configuration on SIGHUP and when its files change, if true.
    pub reloads_by_itself: bool,
}

/// Listen addresses of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address of the admin port.
    pub web: SocketAddr,
}

// === impl Environment ===

impl Environment {
    /// Opens the ports and starts to discover exporters and members, as the flags say.
    ///
    /// # Errors
    /// Returns an error if a port is in use, or exporters or members cannot be discovered.
    pub async fn system(args: &Args) -> Result<Self, Error> {
        let (listener, web) = listen("--web.listen-address", &args.web_listen_address).await?;
        let shard = &args.shard;
        let peers = match shard.members.as_ref().and(shard.self_address.as_deref()) {
            Some(own) => {
                let address = shard.peering.listen_address(own);
                Some(listen("--shard.listen-address", &address).await?.0)
            }
            None => None,
        };
        let exporters = discover(&args.exporter.endpoints, "--exporter.endpoints").await?;
        let members = match &args.shard.members {
            Some(members) => Some(discover(members, "--shard.members").await?),
            None => None,
        };
        Ok(Self {
            clock: Clock::system(),
            addresses: Addresses { web },
            listener,
            peers,
            connector: None,
            exporters: exporters.ready,
            members,
            exports: Identity::new(),
            reloads_by_itself: true,
        })
    }
}

async fn listen(
    flag: &'static str,
    address: &ListenAddress,
) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = address.bind().await;
    bound.map_err(|source| Error::Listen {
        flag,
        address: address.clone(),
        source,
    })
}

async fn discover(endpoints: &Endpoints, flag: &'static str) -> Result<Discovered, Error> {
    let discovered = endpoints::discover(endpoints).await;
    discovered.map_err(|source| Error::Endpoints { flag, source })
}
