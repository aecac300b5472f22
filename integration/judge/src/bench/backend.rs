//! A backend that stores nothing and answers after a given time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A running backend.
#[derive(Debug)]
pub(super) struct Backend {
    address: SocketAddr,
    posts: Arc<AtomicU64>,
    _server: AbortOnDropHandle<()>,
}

// === impl Backend ===

impl Backend {
    pub(super) async fn start(latency: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let posts = Arc::new(AtomicU64::new(0));
        let counted = posts.clone();
        let answer = move |_: Bytes| async move {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(latency).await;
            StatusCode::NO_CONTENT
        };
        let router = Router::new().route("/write", post(answer));
        let server = async move {
            // Serving never ends by itself.
            let _ = axum::serve(listener, router).await;
        };
        Ok(Self {
            address,
            posts,
            _server: AbortOnDropHandle::new(tokio::spawn(server)),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/write", self.address)
    }

    /// Number of posts so far.
    pub(super) fn posts(&self) -> u64 {
        self.posts.load(Ordering::Relaxed)
    }
}
