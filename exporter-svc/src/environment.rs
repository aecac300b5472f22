//! The surroundings of an exporter: its ports and its network.

use std::net::SocketAddr;

use mesh_net::{connector::Connector, listen::ListenAddress};
use tokio::net::TcpListener;

use crate::{args::Args, error::Error};

/// Everything outside of the process that an exporter uses. A simulation passes its own.
#[derive(Debug)]
pub struct Environment<G = TcpListener, W = TcpListener> {
    /// Listener of the OTLP/gRPC port.
    pub grpc: G,
    /// Listener of the admin port.
    pub web: W,
    /// Listen addresses.
    pub addresses: Addresses,
    /// Opens connections to the backends; `None` for TCP.
    pub connector: Option<Connector>,
    /// Reloads the configuration on SIGHUP and when its files change, if true.
    pub reloads_by_itself: bool,
}

/// Addresses that an exporter listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address of the OTLP/gRPC port.
    pub grpc: SocketAddr,
    /// Address of the admin port.
    pub web: SocketAddr,
}

// === impl Environment ===

impl Environment {
    /// Opens the ports of the flags.
    ///
    /// # Errors
    /// Returns an error if a port cannot be opened.
    pub async fn system(args: &Args) -> Result<Self, Error> {
        let (grpc, grpc_address) =
            listen("--grpc.listen-address", &args.grpc_listen_address).await?;
        let (web, web_address) = listen("--web.listen-address", &args.web_listen_address).await?;
        Ok(Self {
            grpc,
            web,
            addresses: Addresses {
                grpc: grpc_address,
                web: web_address,
            },
            connector: None,
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
