//! Opens byte streams to peers over TCP, TLS or a simulated network.

mod tls;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

pub use self::tls::{over_tls, server_name};

/// Timeout for opening a stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A byte stream to a peer.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens byte streams to addresses of the form `host:port`. Cheap to clone.
#[derive(Clone)]
pub struct Connector(Arc<dyn Fn(String) -> Connecting + Send + Sync>);

type Connecting = BoxFuture<'static, io::Result<Box<dyn Io>>>;

/// Returns a connector for plain TCP.
pub fn plaintext() -> Connector {
    Connector::new(|address| async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Returns a connector for plain TCP that connects from this address of the host, so that the
/// server sees it. It uses another address if the host has lost this one, or if the server has an
/// address of the other family.
pub fn plaintext_from(own: IpAddr) -> Connector {
    Connector::new(move |address| async move {
        let mut servers = lookup_host(address).await?;
        let server = servers.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = if own.is_ipv4() == server.is_ipv4() {
            let socket = match server {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            match socket.bind(SocketAddr::new(own, 0)) {
                Ok(()) => socket.connect(server).await,
                Err(_) => TcpStream::connect(server).await,
            }
        } else {
            TcpStream::connect(server).await
        }?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

// === impl Connector ===

impl Connector {
    /// Returns a connector that opens streams with `connect`.
    pub fn new<F, Fut, T>(connect: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + Send + 'static,
        T: Io + 'static,
    {
        Self(Arc::new(move |address| {
            let connecting = connect(address);
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Io>) })
        }))
    }

    /// Opens a stream to `address`.
    ///
    /// # Errors
    /// Returns an error if the connection fails or does not open within 2 s.
    pub async fn connect(&self, address: &str) -> io::Result<Box<dyn Io>> {
        let connecting = (self.0)(address.to_owned());
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connects_from_the_given_address_if_the_host_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (own, seen) in [
            ("127.0.0.9", "127.0.0.9"),
            ("192.0.2.1", "127.0.0.1"),
            ("::1", "127.0.0.1"),
        ] {
            let connector = plaintext_from(own.parse().unwrap());
            let (connected, accepted) =
                tokio::join!(connector.connect(&address), listener.accept());
            connected.unwrap();
            let (_, peer) = accepted.unwrap();
            assert_eq!(peer.ip().to_string(), seen, "{own}");
        }
    }
}
