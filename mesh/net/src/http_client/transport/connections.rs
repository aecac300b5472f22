//! Distributes the concurrent requests to a server over several HTTP/2 connections.
//!
//! A server limits the requests in flight on a connection, and hyper uses one connection per
//! server: one more request waits until another one ends. So one slow response could delay many
//! others. Like Go, this opens another connection instead.
//!
//! Each pool is a client of hyper with connections of its own. The first pool with room takes a
//! request, so that surplus connections become idle and close.

use std::{collections::HashMap, sync::Arc};

use http::{
    Uri,
    uri::{Authority, Scheme},
};
use parking_lot::Mutex;

/// The pools of one transport. Cheap to clone.
pub(super) struct Connections<P>(Arc<Shared<P>>);

/// A request in flight. Its place on the connection is free once this is dropped.
#[derive(Debug)]
pub(super) struct Stream<P> {
    shared: Arc<Shared<P>>,
    server: Authority,
    pool: usize,
}

struct Shared<P> {
    open: Box<dyn Fn() -> P + Send + Sync>,
    state: Mutex<State<P>>,
}

struct State<P> {
    pools: Vec<P>,
    servers: HashMap<Authority, Server>,
}

/// Requests to one server.
#[derive(Debug)]
struct Server {
    /// Maximum number of requests in flight on one connection.
    limit: usize,
    /// Number of requests in flight in each pool.
    in_flight: Vec<usize>,
}

/// Requests in flight on a connection to a server whose limit is not known, as in Go.
const DEFAULT_LIMIT: usize = 100;
/// Number of servers from which on those without requests are forgotten.
const MAX_SERVERS: usize = 10_000;

// === impl Connections ===

impl<P: Clone> Connections<P> {
    /// Creates pools with `open` as they are needed.
    pub(super) fn new(open: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let state = State {
            pools: vec![open()],
            servers: HashMap::new(),
        };
        Self(Arc::new(Shared {
            open: Box::new(open),
            state: Mutex::new(state),
        }))
    }

    /// Returns the pool for a request, and its place on the connection if it may be HTTP/2.
    pub(super) fn pool(&self, uri: &Uri) -> (P, Option<Stream<P>>) {
        let mut state = self.0.state.lock();
        let (Some(server), true) = (uri.authority(), uri.scheme() == Some(&Scheme::HTTPS)) else {
            return (state.pools[0].clone(), None);
        };
        if state.servers.len() >= MAX_SERVERS {
            state.servers.retain(|_, server| server.is_busy());
        }
        let pool = state.servers.entry(server.clone()).or_default().begin();
        if pool == state.pools.len() {
            state.pools.push((self.0.open)());
        }
        let stream = Stream {
            shared: self.0.clone(),
            server: server.clone(),
            pool,
        };
        (state.pools[pool].clone(), Some(stream))
    }
}

impl<P> Clone for Connections<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> std::fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pools = self.state.lock().pools.len();
        f.debug_struct("Connections")
            .field("pools", &pools)
            .finish()
    }
}

impl<P> std::fmt::Debug for Connections<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Stream ===

impl<P> Stream<P> {
    /// Sets the limit that the server has announced; `usize::MAX` for HTTP/1.
    pub(super) fn set_limit(&self, limit: usize) {
        let mut state = self.shared.state.lock();
        if let Some(server) = state.servers.get_mut(&self.server) {
            server.limit = limit.max(1);
        }
    }
}

impl<P> Drop for Stream<P> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(server) = state.servers.get_mut(&self.server) {
            server.in_flight[self.pool] -= 1;
        }
    }
}

// === impl Server ===

impl Server {
    /// Counts a request in the first pool with room. Returns the pool.
    fn begin(&mut self) -> usize {
        let free = self.in_flight.iter().position(|n| *n < self.limit);
        let pool = free.unwrap_or_else(|| {
            self.in_flight.push(0);
            self.in_flight.len() - 1
        });
        self.in_flight[pool] += 1;
        pool
    }

    fn is_busy(&self) -> bool {
        self.in_flight.iter().any(|n| *n > 0)
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            in_flight: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Connections whose pools are their numbers.
    fn connections() -> Connections<usize> {
        let opened = AtomicUsize::new(0);
        Connections::new(move || opened.fetch_add(1, Relaxed))
    }

    #[test]
    fn uses_another_pool_when_all_are_full() {
        let connections = connections();
        let a = Uri::from_static("https://a:1/x");
        let begin = || connections.pool(&a);
        let mut streams: Vec<_> = (0..DEFAULT_LIMIT).map(|_| begin()).collect();
        assert!(streams.iter().all(|(pool, _)| *pool == 0));
        let (pool, surplus) = begin();
        assert_eq!(pool, 1);
        let other = connections.pool(&Uri::from_static("https://b:1/"));
        assert_eq!(other.0, 0);
        streams.pop();
        assert_eq!(begin().0, 0);
        surplus.unwrap().set_limit(2 * DEFAULT_LIMIT);
        streams.push(begin());
        assert_eq!(begin().0, 0);
    }

    #[test]
    fn plain_requests_use_the_first_pool() {
        let connections = connections();
        let plain = Uri::from_static("http://a:1/");
        let streams: Vec<_> = (0..=DEFAULT_LIMIT)
            .map(|_| connections.pool(&plain))
            .collect();
        let first =
            |(pool, stream): &(usize, Option<Stream<usize>>)| *pool == 0 && stream.is_none();
        assert!(streams.iter().all(first));
    }

    #[test]
    fn forgets_servers_without_requests() {
        let connections = connections();
        let uri = |n: usize| format!("https://h{n}/").parse::<Uri>().unwrap();
        let _busy = connections.pool(&uri(0));
        for n in 1..MAX_SERVERS + 10 {
            connections.pool(&uri(n));
        }
        let state = connections.0.state.lock();
        assert!(state.servers.len() <= MAX_SERVERS);
        assert!(state.servers.contains_key(&Authority::from_static("h0")));
    }
}
