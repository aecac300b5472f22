//! Distributes the requests to an API server over several HTTP/2 connections.
//!
//! A server limits the streams of a connection, an API server to about 100. A watch is a
//! stream that stays open for minutes. One more request than the limit would wait in the HTTP
//! client until another watch ends.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::timeout};

use super::transport::Error;

/// Streams of a connection before another one is opened.
const MAX_STREAMS: usize = 64;
/// Lower bound of the streams of a connection if the server allows fewer than [`MAX_STREAMS`].
const MIN_STREAMS: usize = 8;

/// The connections to one server. `C` is a client that sends all its concurrent requests over
/// one HTTP/2 connection. Cheap to clone.
pub(crate) struct Connections<C>(Arc<Shared<C>>);

struct Shared<C> {
    open: Box<dyn Fn() -> Result<C, Error> + Send + Sync>,
    state: Mutex<State<C>>,
}

struct State<C> {
    connections: Vec<Arc<Connection<C>>>,
    /// Streams of a connection before another one is opened.
    max_streams: usize,
}

struct Connection<C> {
    client: C,
    /// Set once a first request has been answered. The others wait for it, since each would
    /// open a connection of its own.
    opened: Mutex<Arc<OnceCell<()>>>,
    /// Requests whose response is not complete.
    streams: AtomicUsize,
    /// Requests whose response has begun and is not complete.
    started: AtomicUsize,
}

/// A request on a connection. The stream is free once this is dropped.
pub(crate) struct Stream<C> {
    connection: Arc<Connection<C>>,
    is_started: bool,
}

/// The response to a request has not begun in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no response of the API server within {} s", .0.as_secs())]
pub(crate) struct StartTimeout(Duration);

// === impl Connections ===

impl<C: Clone> Connections<C> {
    /// Uses `open` to create the client of each further connection.
    pub(crate) fn new(
        first: C,
        open: impl Fn() -> Result<C, Error> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            open: Box::new(open),
            state: Mutex::new(State {
                connections: vec![Arc::new(Connection::new(first))],
                max_streams: MAX_STREAMS,
            }),
        }))
    }

    /// Sends a request with the client of a connection that has a free stream. The response
    /// head has to arrive within `limit`. The caller keeps the stream until the body ends.
    pub(crate) async fn request<T, E: Into<Error>, F>(
        &self,
        limit: Duration,
        send: impl FnOnce(C) -> F,
    ) -> Result<(T, Stream<C>), Error>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut stream = self.stream()?;
        let connection = stream.connection.clone();
        match timeout(limit, connection.request(send)).await {
            Ok(Ok(response)) => {
                stream.start();
                Ok((response, stream))
            }
            Ok(Err(error)) => {
                *connection.opened.lock() = Arc::default();
                Err(error.into())
            }
            Err(_) => {
                self.starved(&connection);
                Err(StartTimeout(limit).into())
            }
        }
    }

    /// Returns a stream on the first connection with room, so that surplus connections become
    /// idle. Opens a connection if none has room.
    fn stream(&self) -> Result<Stream<C>, Error> {
        let mut state = self.0.state.lock();
        let mut is_first = true;
        state
            .connections
            .retain(|c| std::mem::take(&mut is_first) || c.streams.load(Relaxed) > 0);
        let max_streams = state.max_streams;
        let mut connections = state.connections.iter();
        let free = connections.find(|c| c.streams.load(Relaxed) < max_streams);
        let connection = match free {
            Some(connection) => connection.clone(),
            None => {
                let connection = Arc::new(Connection::new((self.0.open)()?));
                state.connections.push(connection.clone());
                connection
            }
        };
        connection.streams.fetch_add(1, Relaxed);
        Ok(Stream {
            connection,
            is_started: false,
        })
    }

    /// Lowers the limit if other streams of the connection work, since the server then allows
    /// fewer streams than were opened.
    fn starved(&self, connection: &Connection<C>) {
        let started = connection.started.load(Relaxed);
        if started > 0 {
            let mut state = self.0.state.lock();
            state.max_streams = state.max_streams.min(started.max(MIN_STREAMS));
        }
    }
}

impl<C> Clone for Connections<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Connections")
            .field("open", &state.connections.len())
            .field("max_streams", &state.max_streams)
            .finish()
    }
}

// === impl Connection ===

impl<C: Clone> Connection<C> {
    fn new(client: C) -> Self {
        Self {
            client,
            opened: Mutex::default(),
            streams: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
        }
    }

    async fn request<T, E, F>(&self, send: impl FnOnce(C) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let opened = self.opened.lock().clone();
        let mut send = Some(send);
        let mut response = None;
        opened
            .get_or_init(async || {
                if let Some(send) = send.take() {
                    response = Some(send(self.client.clone()).await);
                }
            })
            .await;
        match (response, send) {
            (Some(response), _) => response,
            (None, Some(send)) => send(self.client.clone()).await,
            (None, None) => unreachable!("a request that was sent has a response"),
        }
    }
}

// === impl Stream ===

impl<C> Stream<C> {
    fn start(&mut self) {
        self.is_started = true;
        self.connection.started.fetch_add(1, Relaxed);
    }
}

impl<C> Drop for Stream<C> {
    fn drop(&mut self) {
        if self.is_started {
            self.connection.started.fetch_sub(1, Relaxed);
        }
        self.connection.streams.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Connections whose clients are their numbers.
    fn connections() -> Connections<usize> {
        let opened = AtomicUsize::new(1);
        Connections::new(0, move || Ok(opened.fetch_add(1, Relaxed)))
    }

    async fn answered(connections: &Connections<usize>) -> (usize, Stream<usize>) {
        let send = |client| ready(Ok::<_, Error>(client));
        connections.request(LIMIT, send).await.unwrap()
    }

    #[tokio::test]
    async fn opens_a_connection_when_all_are_full_and_drops_idle_ones() {
        let connections = connections();
        let mut streams = Vec::new();
        for i in 0..3 * MAX_STREAMS {
            let (client, stream) = answered(&connections).await;
            assert_eq!(client, i / MAX_STREAMS);
            streams.push(stream);
        }
        streams.remove(0);
        assert_eq!(answered(&connections).await.0, 0);
        streams.clear();
        assert_eq!(answered(&connections).await.0, 0);
        assert_eq!(connections.0.state.lock().connections.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn opens_a_connection_if_the_server_allows_fewer_streams() {
        let connections = connections();
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(answered(&connections).await.1);
        }
        let waits = |_| pending::<Result<usize, Error>>();
        let error = connections.request(LIMIT, waits).await.err().unwrap();
        assert!(error.is::<StartTimeout>(), "{error}");
        let (client, _stream) = answered(&connections).await;
        assert_eq!(client, 1);
        assert_eq!(connections.0.state.lock().max_streams, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_causes_no_connections() {
        let connections = connections();
        let waits = |_| pending::<Result<usize, Error>>();
        for _ in 0..3 {
            assert!(connections.request(LIMIT, waits).await.is_err());
        }
        assert_eq!(connections.0.state.lock().connections.len(), 1);
        assert_eq!(connections.0.state.lock().max_streams, MAX_STREAMS);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_until_the_connection_is_open() {
        let connections = connections();
        let sent = AtomicUsize::new(0);
        let send = async |_| {
            sent.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Error>(())
        };
        let first = connections.request(LIMIT, send);
        let second = async {
            tokio::task::yield_now().await;
            connections.request(LIMIT, send).await
        };
        let observed = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            sent.load(Relaxed)
        };
        let (first, second, observed) = tokio::join!(first, second, observed);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!((observed, sent.load(Relaxed)), (1, 2));
    }
}
