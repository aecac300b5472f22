//! The simulation's network, as the services and the stand-in want it.

use std::{io, net::SocketAddr};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use mesh_net::connector::Connector;
use mesh_net::server::Accept;
use turmoil::net::{TcpListener, TcpStream};

/// A port of the simulation, for an exporter.
pub(super) struct Listener(TcpListener);

/// Connects to hosts of the simulation by their names.
pub(super) fn connector() -> Connector {
    Connector::new(|address: String| async move {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.to_owned(), port.parse::<u16>().ok()?)))
            .ok_or(io::ErrorKind::InvalidInput)?;
        TcpStream::connect((host, port)).await
    })
}

/// Serves HTTP on a port for ever; `router` is told the name of the host that
/// has connected.
pub(super) async fn serve(port: u16, router: impl Fn(String) -> Router) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
        let service = TowerToHyperService::new(router(peer));
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            // A client that hangs up, or is cut off, is part of the game.
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
        TcpListener::bind(("0.0.0.0", port)).await.map(Self)
    }
}

impl Accept for Listener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}
