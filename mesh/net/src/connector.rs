//! Opens byte streams to peers over TCP, TLS or a simulated network.

mod tls;

use std::{fmt, io, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
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
