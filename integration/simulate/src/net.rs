//! The simulated network: listeners and connections between hosts.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use mesh_net::{connector::Connector, server::Accept};
use turmoil::net::{TcpListener, TcpStream};

/// Listener on a port of a simulated host, for the servers of the services.
pub(super) struct Listener(TcpListener);

/// Returns a connector that opens connections to simulated hosts by their names, at this port if
/// the address has none.
pub(super) fn connector(default_port: u16) -> Connector {
    Connector::new(move |address: String| async move {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse::<u16>().ok()),
            None => (address, Some(default_port)),
        };
        let port = port.ok_or(io::ErrorKind::InvalidInput)?;
        TcpStream::connect((host, port)).await
    })
}

/// Listen address of a port on any simulated host.
pub(super) fn any_address(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Serves HTTP on a port. Never completes. `router` gets the name of the connecting host.
pub(super) async fn serve(port: u16, router: impl Fn(String) -> Router) -> turmoil::Result {
    let listener = TcpListener::bind(any_address(port)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
        let service = TowerToHyperService::new(router(peer));
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            // Simulations break connections on purpose.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

// === impl Listener ===

impl Listener {
    /// Listens on a port of this host.
    pub(super) async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind(any_address(port)).await.map(Self)
    }
}

impl Accept for Listener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}
