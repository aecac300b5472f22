//! A link between two pods that can be cut: a TCP proxy.
//!
//! A network partition does not close connections. Bytes are delayed, and a SYN gets no
//! response. Both go through when the partition ends, as TCP retransmits them.
//!
//! A link can also have a trap: bytes at which it closes the connection instead of forwarding
//! them. So a scenario knows which server would have died of a request.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::AbortOnDropHandle;

use stand_ins::ports::reserve;

/// A running proxy. Dropping it closes its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    upstreams: Upstreams,
    /// Set while bytes are forwarded.
    forwarding: watch::Sender<bool>,
    trap: Trap,
    _task: AbortOnDropHandle<()>,
}

/// Bytes at which a connection is closed, and the number of times that they were seen.
#[derive(Clone, Debug, Default)]
struct Trap(Arc<Mutex<Option<Vec<u8>>>>, Arc<AtomicUsize>);

/// Addresses that connections go to, in turn.
#[derive(Clone, Debug)]
struct Upstreams(Arc<Mutex<Vec<SocketAddr>>>, Arc<AtomicUsize>);

const BACKLOG: u32 = 1024;
const CHUNK: usize = 16 << 10;
/// More connections than a backlog of 0 holds, so that the next SYN gets no response.
const FILLING: usize = 4;

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy at `address`.
    ///
    /// # Errors
    /// Returns an error if it cannot listen.
    pub(crate) fn start(address: SocketAddr, upstreams: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let upstreams = Upstreams(Arc::new(Mutex::new(upstreams)), Arc::default());
        let (forwarding, trap) = (watch::Sender::new(true), Trap::default());
        let listener = listen(address, BACKLOG).with_context(|| format!("a proxy at {address}"))?;
        let task = tokio::spawn(serve(
            listener,
            address,
            upstreams.clone(),
            forwarding.subscribe(),
            trap.clone(),
        ));
        Ok(Self {
            address,
            upstreams,
            forwarding,
            trap,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the addresses for new connections.
    pub(crate) fn set_upstreams(&self, upstreams: Vec<SocketAddr>) {
        *self.upstreams.lock() = upstreams;
    }

    /// Stops forwarding, and leaves SYNs without a response.
    pub(crate) fn cut(&self) {
        self.forwarding.send_replace(false);
    }

    /// Closes each connection whose client sends `bytes`, within one read.
    pub(crate) fn set_trap(&self, bytes: &[u8]) {
        *self.trap.0.lock() = Some(bytes.to_vec());
    }

    /// Takes the number of connections that the trap has closed.
    pub(crate) fn take_trapped(&self) -> usize {
        self.trap.1.swap(0, Ordering::Relaxed)
    }

    /// Forwards again, delayed bytes first.
    pub(crate) fn restore(&self) {
        self.forwarding.send_replace(true);
    }
}

// === impl Trap ===

impl Trap {
    /// Returns true if the bytes spring the trap.
    fn springs(&self, bytes: &[u8]) -> bool {
        let trap = self.0.lock();
        let springs = trap.as_ref().is_some_and(|trap| {
            let mut windows = bytes.windows(trap.len());
            windows.any(|window| window == trap)
        });
        self.1.fetch_add(usize::from(springs), Ordering::Relaxed);
        springs
    }
}

// === impl Upstreams ===

impl Upstreams {
    fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock()
    }

    fn next(&self) -> Option<SocketAddr> {
        let all = self.lock();
        let turn = self.1.fetch_add(1, Ordering::Relaxed);
        (!all.is_empty()).then(|| all[turn % all.len()])
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstreams: Upstreams,
    mut forwarding: watch::Receiver<bool>,
    trap: Trap,
) {
    let mut connections = JoinSet::new();
    let mut open = Some(listener);
    let mut full: Option<(TcpListener, Vec<JoinHandle<()>>)> = None;
    loop {
        if *forwarding.borrow_and_update() {
            full = None;
            if open.is_none() {
                open = listen(address, BACKLOG).ok();
            }
        } else if full.is_none() {
            open = None;
            full = listen(address, 0).ok().map(|l| (l, fill(address)));
        }
        let Some(listener) = &open else {
            if forwarding.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            accepted = listener.accept() => {
                if let (Ok((stream, _)), Some(upstream)) = (accepted, upstreams.next()) {
                    let forwarding = forwarding.clone();
                    connections.spawn(join(stream, upstream, forwarding, trap.clone()));
                }
            }
            changed = forwarding.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    reserve(address)?.listen(backlog)
}

/// Connections that nothing accepts. They fill the backlog of `address`.
fn fill(address: SocketAddr) -> Vec<JoinHandle<()>> {
    let connect = move |_| {
        tokio::spawn(async move {
            let _connection = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        })
    };
    (0..FILLING).map(connect).collect()
}

async fn join(
    down: TcpStream,
    upstream: SocketAddr,
    forwarding: watch::Receiver<bool>,
    trap: Trap,
) {
    let Ok(up) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (down.set_nodelay(true), up.set_nodelay(true));
    let ((down_read, down_write), (up_read, up_write)) = (down.into_split(), up.into_split());
    // If one side closes, the other can receive nothing more.
    tokio::select! {
        _ = pump(down_read, up_write, forwarding.clone(), trap) => {}
        _ = pump(up_read, down_write, forwarding, Trap::default()) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut forwarding: watch::Receiver<bool>,
    trap: Trap,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        // The end of a stream must not cross a cut link either.
        if forwarding.wait_for(|forwarding| *forwarding).await.is_err() {
            return Ok(());
        }
        match read? {
            0 => return Ok(()),
            n if trap.springs(&chunk[..n]) => return Ok(()),
            n => to.write_all(&chunk[..n]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(30);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn echoed(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"a").await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map(|_| ())
    }

    #[tokio::test]
    async fn a_cut_link_delays_bytes_and_accepts_no_connection() {
        let own = reserve(([127, 0, 0, 1], 0).into()).unwrap();
        let proxy = Proxy::start(own.local_addr().unwrap(), vec![echo().await]).unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        echoed(&mut old).await.unwrap();
        proxy.cut();
        // The link is cut once the listener has been replaced.
        timeout(LONG, async {
            while timeout(SHORT, TcpStream::connect(proxy.address()))
                .await
                .is_ok()
            {}
        })
        .await
        .unwrap();
        old.write_all(b"b").await.unwrap();
        assert!(timeout(SHORT, old.read_u8()).await.is_err());
        proxy.restore();
        assert_eq!(timeout(LONG, old.read_u8()).await.unwrap().unwrap(), b'b');
        let new = timeout(LONG, TcpStream::connect(proxy.address())).await;
        let mut new = new.unwrap().unwrap();
        timeout(LONG, echoed(&mut new)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_trap_closes_the_connection() {
        let own = reserve(([127, 0, 0, 1], 0).into()).unwrap();
        let proxy = Proxy::start(own.local_addr().unwrap(), vec![echo().await]).unwrap();
        proxy.set_trap(b"trap");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        timeout(LONG, echoed(&mut stream)).await.unwrap().unwrap();
        assert_eq!(proxy.take_trapped(), 0);
        stream.write_all(b"a trap!").await.unwrap();
        let ended = timeout(LONG, stream.read_u8()).await.unwrap();
        assert!(ended.is_err());
        assert_eq!(proxy.take_trapped(), 1);
    }

    #[tokio::test]
    async fn connections_take_turns() {
        let (first, second) = (echo().await, echo().await);
        let upstreams = Upstreams(Arc::new(Mutex::new(vec![first, second])), Arc::default());
        assert_eq!(upstreams.next(), Some(first));
        assert_eq!(upstreams.next(), Some(second));
        upstreams.lock().clear();
        assert_eq!(upstreams.next(), None);
    }
}
