//! The simulation's network, as the services and the stand-in want it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::Router;
use futures::Stream;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use mesh::balance::Connector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

/// A connection that a gRPC server has accepted.
#[derive(Debug)]
pub(super) struct Accepted(TcpStream);

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

/// The connections that arrive at a port, for a gRPC server.
pub(super) async fn incoming(port: u16) -> io::Result<impl Stream<Item = io::Result<Accepted>>> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    Ok(futures::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await;
        Some((accepted.map(|(stream, _)| Accepted(stream)), listener))
    }))
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

// === impl Accepted ===

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
