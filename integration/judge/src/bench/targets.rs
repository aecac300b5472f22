//! Targets: one server exposes all of them at different paths.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::bodies::Body;

/// Running targets.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) address: SocketAddr,
    served: Arc<Served>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Served {
    bodies: Vec<Body>,
    /// Scrapes of each target.
    scrapes: Vec<AtomicU64>,
    samples: AtomicU64,
}

// === impl Targets ===

impl Targets {
    /// Starts targets that expose these bodies in turn.
    pub(super) async fn start(targets: usize, bodies: Vec<Body>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = Arc::new(Served {
            bodies,
            scrapes: (0..targets).map(|_| AtomicU64::new(0)).collect(),
            samples: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/target/{target}", get(scrape))
            .with_state(served.clone());
        let server = async move {
            // Serving never ends by itself.
            let _ = axum::serve(listener, router).await;
        };
        Ok(Self {
            address,
            served,
            _server: AbortOnDropHandle::new(tokio::spawn(server)),
        })
    }

    /// Scrape configuration of all targets.
    pub(super) fn job(&self) -> String {
        let targets = (0..self.served.scrapes.len()).map(|target| {
            format!(
                "  - targets: ['{}']\n    labels: {{instance: 10.1.{}.{}:8080, \
                 __metrics_path__: /target/{target}}}\n",
                self.address,
                target / 250,
                target % 250,
            )
        });
        let targets: String = targets.collect();
        format!("- job_name: bench\n  static_configs:\n{targets}")
    }

    /// Number of scrapes of all targets.
    pub(super) fn scrapes(&self) -> u64 {
        self.counts().sum()
    }

    /// Number of scrapes of the target that was scraped least.
    pub(super) fn fewest_scrapes(&self) -> u64 {
        self.counts().min().unwrap_or(0)
    }

    /// Number of samples in all bodies that were served.
    pub(super) fn samples(&self) -> u64 {
        self.served.samples.load(Ordering::Relaxed)
    }

    /// Number of series that all targets expose.
    pub(super) fn series(&self) -> usize {
        let targets = 0..self.served.scrapes.len();
        targets.map(|target| self.served.body(target).samples).sum()
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        let scrapes = self.served.scrapes.iter();
        scrapes.map(|scrapes| scrapes.load(Ordering::Relaxed))
    }
}

// === impl Served ===

impl Served {
    fn body(&self, target: usize) -> &Body {
        &self.bodies[target % self.bodies.len()]
    }
}

async fn scrape(State(served): State<Arc<Served>>, Path(target): Path<usize>) -> Response {
    let Some(scrapes) = served.scrapes.get(target) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let scrape = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
    let body = served.body(target);
    served
        .samples
        .fetch_add(body.samples as u64, Ordering::Relaxed);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, body.render(scrape)).into_response()
}
