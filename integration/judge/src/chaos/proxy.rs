//! A link between two pods that can be cut: a TCP proxy in front of whoever is asked.
//!
//! A network that is cut does not break connections. Bytes stay where they are, and
//! a SYN is not answered; both go on when the cut is over, as TCP sends them again.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use stand_ins::ports::reserve;

/// A proxy. Its connections break when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    upstreams: Upstreams,
    /// Whether bytes move.
    flows: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Where connections go, one after the other.
#[derive(Clone, Debug)]
struct Upstreams(Arc<Mutex<Vec<SocketAddr>>>, Arc<AtomicUsize>);

const BACKLOG: u32 = 1024;
const CHUNK: usize = 16 << 10;
/// More than a queue of no length holds, so that the next SYN is not answered.
const FILLING: usize = 4;

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy at `address` in front of these.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub(crate) fn start(address: SocketAddr, upstreams: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let upstreams = Upstreams(Arc::new(Mutex::new(upstreams)), Arc::default());
        let flows = watch::Sender::new(true);
        let listener = listen(address, BACKLOG).with_context(|| format!("a proxy at {address}"))?;
        let task = tokio::spawn(serve(
            listener,
            address,
            upstreams.clone(),
            flows.subscribe(),
        ));
        Ok(Self {
            address,
            upstreams,
            flows,
            task,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets new connections go to these.
    pub(crate) fn lead_to(&self, upstreams: Vec<SocketAddr>) {
        *self.upstreams.lock() = upstreams;
    }

    /// Lets no byte through, and answers no SYN.
    pub(crate) fn cut(&self) {
        self.flows.send_replace(false);
    }

    /// Lets everything through again, what has waited first.
    pub(crate) fn mend(&self) {
        self.flows.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Upstreams ===

impl Upstreams {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    mut flows: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut open = Some(listener);
    let mut full: Option<(TcpListener, Vec<JoinHandle<()>>)> = None;
    loop {
        if *flows.borrow_and_update() {
            full = None;
            if open.is_none() {
                open = listen(address, BACKLOG).ok();
            }
        } else if full.is_none() {
            open = None;
            full = listen(address, 0).ok().map(|l| (l, fill(address)));
        }
        let Some(listener) = &open else {
            if flows.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            accepted = listener.accept() => {
                if let (Ok((stream, _)), Some(upstream)) = (accepted, upstreams.next()) {
                    connections.spawn(join(stream, upstream, flows.clone()));
                }
            }
            changed = flows.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    reserve(address)?.listen(backlog)
}

/// Connections nobody accepts, until the queue of `address` is full.
fn fill(address: SocketAddr) -> Vec<JoinHandle<()>> {
    let connect = move |_| {
        tokio::spawn(async move {
            let _connection = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        })
    };
    (0..FILLING).map(connect).collect()
}

async fn join(down: TcpStream, upstream: SocketAddr, flows: watch::Receiver<bool>) {
    let Ok(up) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (down.set_nodelay(true), up.set_nodelay(true));
    let ((down_read, down_write), (up_read, up_write)) = (down.into_split(), up.into_split());
    // Where one side has ended the other has nothing more to hear.
    tokio::select! {
        _ = pump(down_read, up_write, flows.clone()) => {}
        _ = pump(up_read, down_write, flows) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flows: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        // An end has to cross a cut link, too.
        if flows.wait_for(|flows| *flows).await.is_err() {
            return Ok(());
        }
        match read? {
            0 => return Ok(()),
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
    async fn a_cut_link_holds_bytes_and_answers_no_connection() {
        let own = reserve(([127, 0, 0, 1], 0).into()).unwrap();
        let proxy = Proxy::start(own.local_addr().unwrap(), vec![echo().await]).unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        echoed(&mut old).await.unwrap();
        proxy.cut();
        // Cut is cut once the listener has been changed.
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
        proxy.mend();
        assert_eq!(timeout(LONG, old.read_u8()).await.unwrap().unwrap(), b'b');
        let new = timeout(LONG, TcpStream::connect(proxy.address())).await;
        let mut new = new.unwrap().unwrap();
        timeout(LONG, echoed(&mut new)).await.unwrap().unwrap();
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
